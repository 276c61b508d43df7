"""Discrete likelihoods sum to one, also at extreme outputs."""

import pytest
import torch

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("kind", ["bernoulli", "binomial"])
def test_discrete_likelihoods_sum_to_one(kind):
    decoder = pv.nn.MLP(2, [8], 3)
    likelihood = (
        pv.likelihoods.Bernoulli(decoder)
        if kind == "bernoulli"
        else pv.likelihoods.Binomial(decoder, 16)
    )
    levels = torch.arange(2.0 if kind == "bernoulli" else 17.0)
    x = torch.cartesian_prod(levels, levels, levels)
    p = likelihood(10 * torch.randn(50, 1, 2)).log_prob(x).logsumexp(1)
    assert p.abs().max() < 1e-9
    assert likelihood.support.check(x).all() and not likelihood.support.check(x + 0.5).any()


def test_binomial_is_finite_at_extreme_logits():
    likelihood = pv.likelihoods.Binomial(torch.nn.Identity(), 16)
    x, logits = torch.tensor([0.0, 16.0, 8.0]), torch.tensor([[1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]])
    assert likelihood(logits).log_prob(x).isfinite().all()
