"""Laws of positive numbers against SciPy, also where single precision ends."""

import numpy as np
import pytest
import torch
from scipy import stats

from pyro_vae.distributions import Gamma, LogNormal

X = np.array([1e-12, 1e-3, 0.4, 1.0, 2.5, 70.0, 1e6])
LOCS, SCALES = (-3.0, 0.0, 2.0, 10.0), (0.05, 0.7, 3.0)


def laws(kind, loc, scale):
    """Our law, and SciPy's, of a location and a scale of the logarithm."""
    at = torch.tensor(loc), torch.tensor(scale)
    if kind == "log-normal":
        return LogNormal(*at), stats.lognorm(s=scale, scale=np.exp(loc))
    return Gamma(at[0], at[1].log()), stats.gamma(a=scale, scale=np.exp(loc) / scale)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["log-normal", "gamma"])
def test_positive_laws_are_those_of_scipy(kind):
    for loc in LOCS:
        for scale in SCALES:
            ours, exact = laws(kind, loc, scale)
            at = torch.tensor(X)
            np.testing.assert_allclose(ours.log_prob(at), exact.logpdf(X), rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(ours.cdf(at), exact.cdf(X), rtol=1e-9, atol=1e-13)
            np.testing.assert_allclose(
                [float(ours.mean), float(ours.variance)], exact.stats("mv"), rtol=1e-10
            )
            twin, _ = laws(kind, loc, scale**2)  # a variance for a standard deviation
            assert not np.allclose(twin.log_prob(at), exact.logpdf(X), rtol=1e-3)


@pytest.mark.parametrize("shape", [0.01, 1.0, 1e3, 1e7])
def test_gammas_lose_no_digits(shape):
    """Near their means, in single precision, against double."""
    log_m, log_a = torch.tensor(3.3), torch.tensor(float(np.log(shape)))
    m, a = (np.exp(float(t.double())) for t in (log_m, log_a))
    x = torch.tensor([m * max(1 + k / np.sqrt(a), 0.01) for k in (-2, -0.5, 0, 1, 3)]).float()
    ours = Gamma(log_m, log_a).log_prob(x)
    exact = stats.gamma.logpdf(x.double().numpy(), a, scale=m / a)
    assert np.abs(ours.numpy() - exact).max() < 1e-5 * max(1, np.abs(exact).max())
    plain = torch.distributions.Gamma(log_a.exp(), log_a.exp() / log_m.exp()).log_prob(x)
    assert shape < 1e6 or np.abs(plain.numpy() - exact).max() > 0.01  # the twin: single throughout


@pytest.mark.parametrize("make", [lambda f, s: LogNormal(f, s.exp()), Gamma])
def test_outputs_gone_astray_stay_finite(make):
    for level in (-1e4, -200.0, -60.0, 0.0, 60.0, 88.0, 1e4):
        for x in (1e-10, 1.0, 1e6):
            f = torch.tensor(level).requires_grad_()
            s = torch.tensor(0.3).requires_grad_()
            value = make(f, s).log_prob(torch.tensor(x))
            assert value.isfinite()
            assert all(g.isfinite() for g in torch.autograd.grad(value, [f, s]))
        drawn = make(torch.full((1000,), level), torch.tensor(1.0)).sample()
        assert (drawn > 0).all() and drawn.isfinite().all()
