"""Gaussian likelihoods: the density, and each way of finding sigma."""

import math

import pytest
import torch
from torch import nn

import pyro_vae as pv


@pytest.mark.parametrize("log_scale", [-1e3, -60.0, -30.0, 0.0, 60.0, 1e3])
@pytest.mark.parametrize("sigma", ["shared", "per-element", "per-column", "optimal"])
def test_sigma_has_a_floor_and_a_ceiling(log_scale, sigma):
    """Constant data, of residual zero, too."""
    decoder = pv.nn.MLP(2, [], 6 if sigma == "per-element" else 3)
    likelihood = pv.likelihoods.Gaussian(decoder, sigma, x_shape=(3,))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        if sigma == "per-element":
            decoder.output_bias[3:] = log_scale
        else:
            likelihood.log_scale.fill_(log_scale)
    for x in (torch.zeros(4, 3), torch.ones(4, 3)):
        value = likelihood(torch.zeros(4, 2)).log_prob(x).sum()
        assert value.isfinite()
        found = torch.autograd.grad(value, [p for p in likelihood.parameters() if p.requires_grad])
        assert all(g.isfinite().all() for g in found)


def test_optimal_sigma_moves_with_holes():
    """The root mean square of what is there; also inside of a product."""
    torch.manual_seed(0)
    x = 0.2 * torch.randn(300, 4)
    x[torch.rand(300, 4) < 0.3] = torch.nan
    part = pv.likelihoods.Gaussian(pv.nn.MLP(2, [], 3), "optimal")
    other = pv.likelihoods.Gaussian(pv.nn.MLP(2, [], 1), "shared")
    likelihood = pv.likelihoods.Product(nn.Identity(), [([0, 1, 3], part), ([2], other)])
    encoder = nn.Sequential(pv.nn.Observed(), pv.nn.MLP(8, [8], 4))
    vae = pv.VAE(pv.priors.StandardNormal(2), likelihood, pv.posteriors.MeanFieldNormal(encoder))
    with torch.no_grad():
        for parameter in part.decoder.parameters():
            parameter.zero_()
    for parameter in vae.parameters():
        parameter.requires_grad_(parameter is other.log_scale)
    pv.fit(vae, x, epochs=250, batch_size=100, progress=False)
    truth = float(x[:, [0, 1, 3]].square().nanmean().sqrt())
    found = float(part.log_scale.detach().exp())
    assert found == pytest.approx(truth, rel=0.02) and found < 0.5  # the twin: it stays at 1


@pytest.mark.slow
def test_a_sigma_per_column_finds_each_columns_noise():
    torch.manual_seed(0)
    noise = torch.tensor([0.1, 1.0, 5.0])
    x = noise * torch.randn(2000, 3)
    vae = pv.VAE(
        pv.priors.StandardNormal(1),
        pv.likelihoods.Gaussian(pv.nn.MLP(1, [], 3), "per-column"),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 2)),
    )
    pv.fit(vae, x, epochs=150, batch_size=200, lr=2e-2, schedule="cosine", progress=False)
    found = vae.likelihood.log_scale.detach().exp()
    assert (found / noise - 1).abs().max() < 0.1
    with pytest.raises(ValueError, match="Pass x_shape"):
        pv.likelihoods.Gaussian(nn.Linear(2, 3), "per-column")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("sigma", ["shared", "fixed", "per-element"])
def test_gaussian_is_the_density_it_says(sigma):
    likelihood = pv.likelihoods.Gaussian(
        pv.nn.MLP(2, [8], 6 if sigma == "per-element" else 3), sigma, scale=0.5
    )
    z, x = torch.randn(4, 2), torch.randn(4, 3)
    out = likelihood.decoder(z)
    scale = out[:, 3:].exp() if sigma == "per-element" else torch.tensor(0.5)
    by_hand = (
        -0.5 * ((x - out[:, :3]) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)
    ).sum(1)
    torch.testing.assert_close(likelihood(z).log_prob(x), by_hand)
    twin = (
        -0.5 * (x - out[:, :3]) ** 2 / scale - 0.5 * scale.log() - 0.5 * math.log(2 * math.pi)
    ).sum(1)
    assert (likelihood(z).log_prob(x) - twin).abs().min() > 1e-3  # the twin: sigma for variance
