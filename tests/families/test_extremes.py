"""Densities and samples where single precision ends: exact, or refused with the number."""

import math

import numpy as np
import pytest
import torch
from checks import bound, build, z_scores
from scipy import stats
from torch import nn

import pyro_vae as pv
from pyro_vae import distributions as laws


def single(values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize("mean", [1e-3, 1.0, 1e3, 1e6, 1e7])
def test_counts_lose_no_digits(mean):
    """Near their means, in single precision, against double."""
    x = np.unique(np.round(mean + np.sqrt(mean) * np.array([-3, -1, 0, 1, 3])).clip(0))
    exact = stats.poisson.logpmf(x, float(np.exp(np.float32(np.log(mean)), dtype=np.float64)))
    ours = laws.Poisson(single(math.log(mean))).log_prob(single(x))
    assert np.abs(ours.numpy() - exact).max() < 1e-3
    for r in (0.5, 10.0, 1e4):
        log_r = single(math.log(r))
        r_, m_ = math.exp(float(log_r)), math.exp(float(single(math.log(mean))))
        exact = stats.nbinom.logpmf(x, r_, r_ / (r_ + m_))
        law = laws.NegativeBinomial(single(math.log(mean)), log_r)
        assert np.abs(law.log_prob(single(x)).numpy() - exact).max() < 2e-3
        zero = laws.ZeroInflated(law, single(-20.0)).log_prob(single(x))
        assert np.abs(zero.numpy() - exact)[x > 0].max(initial=0) < 2e-3
    naive = stats.poisson.logpmf(x, mean)
    plain = torch.distributions.Poisson(single(mean)).log_prob(single(x))
    assert mean < 1e6 or np.abs(plain.numpy() - naive).max() > 0.1  # the twin: single throughout


@pytest.mark.parametrize("n", [16, 1000, 10**6, 2**24])
def test_many_trials_lose_no_digits(n):
    for f in (-8.0, 0.3, 8.0):
        p = 1 / (1 + math.exp(-float(single(f))))
        x = np.unique(np.round(n * p + np.sqrt(n * p * (1 - p)) * np.array([-2, 0, 2])).clip(0, n))
        ours = laws.Binomial(n, single(f)).log_prob(single(x))
        assert np.abs(ours.numpy() - stats.binom.logpmf(x, n, p)).max() < 5e-3
    with pytest.raises(ValueError, match="Expected 1 to 16777216 trials"):
        pv.likelihoods.Binomial(nn.Identity(), 2**24 + 1)


def test_rates_far_below_and_above_are_finite():
    for f in (-1e4, -200.0, -104.0, 60.0, 88.0, 1e4):
        for x in (0.0, 2.0, 1e6):
            g = single(f).requires_grad_()
            r = single(0.3).requires_grad_()
            for law in (laws.Poisson(g), laws.NegativeBinomial(g, r)):
                value = law.log_prob(single(x))
                assert value.isfinite()
                assert all(
                    d is None or d.isfinite()
                    for d in torch.autograd.grad(value, [g, r], allow_unused=True)
                )


@pytest.mark.parametrize("level", [-60.0, 0.0, 15.0, 16.5, 25.0, 60.0, 500.0])
def test_samples_of_counts_are_counts(level):
    """Whatever the decoder says: finite, whole, not negative, around their mean."""
    decoder = nn.Identity()
    likelihoods = [
        pv.likelihoods.Poisson(decoder),
        pv.likelihoods.NegativeBinomial(decoder, 5.0),
        pv.likelihoods.ZeroInflatedNegativeBinomial(decoder, 5.0),
    ]
    for likelihood in likelihoods:
        z = torch.full((5000, 2), level)
        law = likelihood(z)
        x = law.sample()
        assert (x >= 0).all() and x.isfinite().all() and (x == x.round()).all()
        inflated = isinstance(likelihood, pv.likelihoods.ZeroInflatedNegativeBinomial)
        if 0 < level < 60 and not inflated:
            assert abs(z_scores(x[:, 0] / law.mean[0, 0], 1.0)) < bound(10)
    x = pv.likelihoods.Binomial(decoder, 2**24)(torch.zeros(100, 2)).sample()
    assert (x >= 0).all() and (x <= 2**24).all()


def test_counts_that_have_no_place_of_their_own_are_refused():
    vae, x = build(
        ({"kind": "standard-normal"}, {"kind": "poisson"}, {"kind": "mean-field-normal"})
    )
    x[2, 1] = 2.0**24
    pv.elbo(vae, x)
    x[2, 1] = 1e9
    with pytest.raises(ValueError, match=r"got 1e\+09 .* row 2, .* larger units"):
        pv.elbo(vae, x)


@pytest.mark.parametrize("posterior", ["MeanFieldNormal", "Laplace"])
@pytest.mark.parametrize("outputs", [-1e3, -90.0, 50.0, 1e3])
def test_posteriors_gone_astray_stay_finite(posterior, outputs):
    values = torch.full((1, 4), outputs).requires_grad_()
    q = getattr(pv.posteriors, posterior)(nn.Identity())(values)
    z = q.rsample()
    log_q = q.log_prob(z.detach())
    assert log_q.isfinite().all()
    assert torch.autograd.grad(log_q.sum(), values)[0].isfinite().all()


def test_beta_and_student_densities_in_single_precision():
    for a, b in ((1e5, 2e5), (0.5, 0.01), (1e6, 1e6)):
        x = single([a / (a + b) * 0.999, a / (a + b)])
        ours = laws.Beta(single(a), single(b)).log_prob(x).numpy()
        exact = stats.beta.logpdf(x.double().numpy(), float(single(a)), float(single(b)))
        assert np.abs(ours - exact).max() < 1e-4 * max(1, np.abs(exact).max())
    for df in (0.5, 4.0, 1e6):
        x = single([-3.0, 0.0, 2.5])
        ours = laws.StudentT(single(df), single(0.3), single(1.5)).log_prob(x).numpy()
        exact = stats.t.logpdf(x.double().numpy(), df, float(single(0.3)), 1.5)
        assert np.abs(ours - exact).max() < 2e-6


def test_the_variance_of_continuous_bernoullis_in_single_precision():
    f = torch.tensor([1e-6, 0.0101, 0.1, 0.49, 0.51, 3.0, 30.0])
    exact = laws.ContinuousBernoulli(f.double())
    grid = torch.linspace(0, 1, 200_001, dtype=torch.float64)[:, None]
    density = exact.log_prob(grid).exp()
    mean = torch.trapezoid(density * grid, grid, dim=0)
    truth = torch.trapezoid(density * (grid - mean) ** 2, grid, dim=0)
    ours = laws.ContinuousBernoulli(f).variance.double()
    assert (ours / truth - 1).abs().max() < 1e-4
