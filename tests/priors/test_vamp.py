"""The VampPrior is the mixture that it says."""

import math

import pytest
import torch

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_vamp_is_the_mixture_it_says():
    posterior = pv.posteriors.FullCovarianceNormal(pv.nn.MLP(4, [8], 5), 2)
    u = torch.randn(3, 4)
    prior = pv.priors.Vamp(posterior, u)
    z = torch.randn(10, 2)
    by_hand = torch.stack([posterior(row).log_prob(z) for row in u]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(prior().log_prob(z), by_hand)
    assert (prior().log_prob(z) - by_hand - math.log(3)).abs().min() > 1  # the twin: log K missing


def test_vamp_draws_components_not_the_first_ones():
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(1, [], 2))
    with torch.no_grad():
        posterior.encoder.layers[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
        posterior.encoder.layers[0].bias.copy_(torch.tensor([0.0, -4.0]))
    prior = pv.priors.Vamp(posterior, torch.arange(5.0)[:, None] * 10)
    drawn = (prior().sample((10_000,))[:, 0] / 10).round()
    counts = torch.bincount(drawn.long(), minlength=5).double()
    assert (
        (counts - 2000) ** 2 / 2000
    ).sum() < 37.3  # chi2 with 4 degrees of freedom, 1e-5 is 28.5
