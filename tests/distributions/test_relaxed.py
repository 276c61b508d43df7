"""Relaxed laws integrate to one and round to their discrete twins."""

import pytest
import torch
from checks import bound, built, z_scores

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_relaxed_bernoulli_integrates_to_one_and_rounds_to_its_twin():
    vae, x = built({"kind": "standard-normal"}, {"kind": "relaxed-bernoulli"})
    q = vae.posterior(x[0])
    t = torch.linspace(-30, 30, 4001)[:, None]
    density = q.base_dist.log_prob(torch.sigmoid(t)).exp() * torch.sigmoid(t) * torch.sigmoid(-t)
    assert (torch.trapezoid(density, t, dim=0) - 1).abs().max() < 1e-4
    bits = (q.rsample((50_000,)) > 0.5).double()
    twin = vae.eval().posterior(x[0]).mean.detach()
    assert z_scores(bits, twin).abs().max() < bound(2)
    assert z_scores(bits, 1 - twin).abs().max() > bound(2)


def test_relaxed_categorical_integrates_to_one_and_rounds_to_its_twin():
    logits = torch.tensor([0.3, -0.5])
    law = pv.distributions.RelaxedOneHots(torch.tensor(0.7), logits, 2)
    t = torch.linspace(-30, 30, 4001)
    z = torch.stack([torch.sigmoid(t), torch.sigmoid(-t)], -1)
    slope = z.prod(-1)
    assert abs(float(torch.trapezoid(law.log_prob(z).exp() * slope, t)) - 1) < 1e-4
    drawn = (law.rsample((50_000,))[:, 0] > 0.5).double()
    assert abs(z_scores(drawn, logits.softmax(0)[0])) < bound(1)
    assert abs(z_scores(drawn, 0.5)) > bound(1)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_straight_through_draws_the_discrete_law(kind):
    posterior = {"kind": f"relaxed-{kind}", "straight_through": True}
    if kind == "categorical":
        posterior["num_categories"] = 3
    vae, x = built({"kind": "standard-normal"}, posterior, latent_dim=6)
    q = vae.posterior(x[0])
    z = q.rsample((50_000,))
    assert vae.posterior.support.check(z).all()
    assert z_scores(z.detach(), q.mean.detach()).abs().max() < bound(6)
    z.sum(0)[0].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.posterior.parameters())
