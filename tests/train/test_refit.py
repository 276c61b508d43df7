"""Priors that are fitted to frozen networks: the optimum and the gain are known exactly."""

import math

import pytest
import torch
from torch import nn

import pyro_vae as pv

SCALE = 0.5
QUICK = {"progress": False, "compile": "no", "batch_size": 200}


def exactly_encoded(count=400):
    """q(z | x) = N(x, SCALE^2), so that the aggregate posterior of standard deviation s is known."""
    net = nn.Linear(1, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [0.0]]))
        net.bias.copy_(torch.tensor([0.0, math.log(SCALE)]))
    vae = pv.VAE(
        pv.priors.StandardNormal(1),
        pv.likelihoods.Gaussian(nn.Linear(1, 1), "fixed", 0.3),
        pv.posteriors.MeanFieldNormal(net),
    )
    x = torch.where(torch.rand(count, 1) < 0.5, -3.0, 3.0) + 0.3 * torch.randn(count, 1)
    return vae, x


def cross_entropy(x, loc, variance):
    """E_q log N(z; loc, variance), datum by datum."""
    square = (x[:, 0] - loc).square() + SCALE**2
    return -0.5 * (square / variance + math.log(2 * math.pi * variance))


def test_a_normal_prior_finds_mean_and_variance():
    vae, x = exactly_encoded()
    before = {n: v.clone() for n, v in vae.state_dict().items()}
    prior = pv.priors.Normal(1, learned=True)
    found = pv.refit_prior(vae, prior, x, x, num_samples=200, epochs=150, lr=0.05, **QUICK)
    law = found.vae.prior().base_dist
    mean, variance = x.mean(), x.var(correction=0) + SCALE**2
    assert float(law.loc.detach()) == pytest.approx(float(mean), abs=0.1)
    assert float(law.scale.detach()) == pytest.approx(float(variance.sqrt()), rel=0.05)
    variance = float(law.scale.detach()) ** 2
    gain = cross_entropy(x, float(law.loc.detach()), variance) - cross_entropy(x, 0.0, 1.0)
    # of a draw z = x + SCALE e the gain is a z^2 + b z + c, with 2 a = 1 - 1 / variance
    slope = (1 - 1 / variance) * x[:, 0] + float(law.loc.detach()) / variance
    each = slope.square() * SCALE**2 + (1 - 1 / variance) ** 2 * SCALE**4 / 2
    noise = float((each / 200).mean() / len(x)) ** 0.5
    assert abs(found.gain.value - float(gain.mean())) < 4 * noise
    assert found.gain.se == pytest.approx(float(gain.std()) / len(x) ** 0.5, rel=0.1)
    for name, value in vae.state_dict().items():  # neither the old VAE nor the networks moved
        assert torch.equal(value, before[name])
        if not name.startswith("prior"):
            assert torch.equal(value, found.vae.state_dict()[name])
    assert all(p.requires_grad for p in found.vae.posterior.parameters())
    assert not any(p is q for p in vae.parameters() for q in found.vae.parameters())


def test_the_gain_is_that_of_the_elbo_and_a_mixture_gains_more():
    vae, x = exactly_encoded()
    other = exactly_encoded()[1]
    mixture = pv.priors.GaussianMixture(1, 4)
    found = pv.refit_prior(vae, mixture, x, other, epochs=100, lr=0.05, **QUICK)
    pairs = pv.elbo(found.vae, other, 20) - pv.elbo(vae, other, 20)
    assert found.gain.value == pytest.approx(float(pairs.mean()))
    z = torch.linspace(-8, 8, 4001)[:, None]
    law = torch.distributions.Normal(x[:, 0], SCALE)
    aggregate = law.log_prob(z).logsumexp(1) - math.log(len(x))
    p = found.vae.prior().log_prob(z).detach()
    kl = float((aggregate.exp() * (aggregate - p)).sum() * (z[1] - z[0]))
    assert 0 <= kl < 0.05  # the best Normal is 0.7 nats away
    normal = pv.refit_prior(
        vae, pv.priors.Normal(1, learned=True), x, other, epochs=100, lr=0.05, **QUICK
    )
    assert found.gain > normal.gain + 0.3


def test_a_vamp_prior_moves_its_pseudo_inputs_alone():
    vae, x = exactly_encoded()
    prior = pv.priors.Vamp(vae.posterior, x[:10].clone())
    found = pv.refit_prior(vae, prior, x, x, epochs=20, lr=0.05, **QUICK)
    assert found.vae.prior.posterior is found.vae.posterior
    assert not torch.equal(found.vae.prior.pseudo_inputs, x[:10])
    assert torch.equal(found.vae.posterior.encoder.weight, vae.posterior.encoder.weight)
    assert found.gain.value > 2


def test_what_cannot_be_refitted():
    vae, x = exactly_encoded()
    with pytest.raises(ValueError, match="with parameters to fit"):
        pv.refit_prior(vae, pv.priors.StandardNormal(1), x, x)
    with pytest.raises(ValueError, match=r"Expected a pv\.VAE"):
        pv.refit_prior(nn.Linear(1, 1), pv.priors.Normal(1, learned=True), x, x)
