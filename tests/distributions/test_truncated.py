"""Counts that are not zero: probabilities, moments and draws."""

import math

import numpy as np
import pytest
import torch
from checks import bound, z_scores
from scipy import special, stats

from pyro_vae.distributions import Binomial, NegativeBinomial, Poisson, ZeroTruncated

N = 7
RATES = (-40.0, -5.0, -0.5, 1.0, 3.0)  # log means, or logits


def law(kind, f):
    f = torch.as_tensor(f)
    match kind:
        case "poisson":
            return Poisson(f)
        case "binomial":
            return Binomial(N, f)
    return NegativeBinomial(f, torch.tensor(math.log(0.6)))


def exact(kind, f, x):
    """The log probability of a count, and the logarithm of that of a positive one."""
    if kind == "poisson":
        return stats.poisson.logpmf(x, np.exp(f)), np.log(-np.expm1(-np.exp(f)))
    if kind == "binomial":
        p = 1 / (1 + np.exp(-f))
        return stats.binom.logpmf(x, N, p), np.log(-np.expm1(N * np.log1p(-p)))
    odds = np.exp(f) / 0.6  # SciPy's law takes 1 - p, which rounds to 1
    log_p = special.gammaln(x + 0.6) - special.gammaln(0.6) - special.gammaln(x + 1)
    log_p += x * (np.log(odds) - np.log1p(odds)) - 0.6 * np.log1p(odds)
    return log_p, np.log(-np.expm1(-0.6 * np.log1p(odds)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", ["poisson", "binomial", "negative-binomial"])
@pytest.mark.parametrize("f", RATES)
def test_truncated_counts_are_counts_given_that_they_are_positive(kind, f):
    ours, x = ZeroTruncated(law(kind, f)), np.arange(1, 8)
    counts, positive = exact(kind, f, x)
    np.testing.assert_allclose(
        ours.log_prob(torch.tensor(x)), counts - positive, rtol=1e-9, atol=1e-9
    )
    every = torch.arange(1.0, N + 1 if kind == "binomial" else 3000)
    p = ours.log_prob(every).exp()
    mean = float((p * every).sum())
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(ours.mean) == pytest.approx(mean, rel=1e-9)
    variance = float((p * (every - mean) ** 2).sum())
    assert float(ours.variance) == pytest.approx(variance, rel=1e-6, abs=1e-10)
    assert float(law(kind, f).log_prob(every).exp().sum()) < 0.999 or f > 0  # the twin


@pytest.mark.parametrize("kind", ["poisson", "binomial", "negative-binomial"])
@pytest.mark.parametrize("f", [-200.0, *RATES, 6.0])
def test_truncated_draws_are_of_that_law(kind, f):
    ours = ZeroTruncated(law(kind, f))
    x = ours.sample((20_000,))
    assert (x >= 1).all() and (x == x.round()).all() and ours.support.check(x).all()
    mean, spread = ours.mean, ours.variance.sqrt()
    if float(spread) > 1e-3:
        assert abs(z_scores(x, mean)) < bound(9)
    values = torch.arange(1.0, 7.0)
    share, p = (x[:, None] == values).double().mean(0), ours.log_prob(values).double().exp()
    error = (p * (1 - p) / len(x)).sqrt() + 1e-9
    assert ((share - p) / error).abs().max() < bound(6 * 18)
    if f == -0.5:
        plain = law(kind, f).sample((20_000,)).clamp(min=1)  # the twin: zeros made ones
        twin = (plain[:, None] == values).double().mean(0)
        assert ((twin - p) / error).abs().max() > bound(6 * 18)


@pytest.mark.parametrize("kind", ["poisson", "binomial", "negative-binomial"])
def test_rates_far_below_and_above_are_finite(kind):
    for level in (-1e4, -200.0, -104.0, 60.0, 1e4):
        f = torch.tensor(level).requires_grad_()
        value = ZeroTruncated(law(kind, f)).log_prob(torch.tensor([1.0, 2.0, 5.0]))
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), f)[0].isfinite()
        if level < -100:
            assert float(value[0].detach()) == pytest.approx(0.0, abs=2e-3)  # a one, surely
        drawn = ZeroTruncated(law(kind, torch.full((1000,), level))).sample()
        assert (drawn >= 1).all() and drawn.isfinite().all()
