"""A stranger's prior, likelihood and posterior train without touching the package."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import constraints

import pyro_vae as pv
from pyro_vae.base import Likelihood, Posterior, Prior


class Cauchy(Prior):
    def __init__(self, latent_dim):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    def forward(self):
        return dist.Cauchy(torch.zeros_like(self.log_scale), self.log_scale.exp()).to_event(1)


class Geometric(Likelihood):
    support = constraints.nonnegative_integer

    def forward(self, z):
        return dist.Geometric(logits=self.decoder(z)).to_event(self.event_dim)


class Logistic(Posterior):
    def forward(self, x):
        loc, log_scale = self.encoder(x).chunk(2, dim=-1)
        return dist.Logistic(loc, log_scale.exp()).to_event(1)


@pytest.mark.parametrize("estimator", ["auto", "stl", "iwae", "dreg", "renyi", "score-function"])
def test_a_strangers_triple_trains(estimator, tmp_path):
    x = torch.poisson(torch.full((64, 5), 1.5))
    vae = pv.VAE(Cauchy(2), Geometric(pv.nn.MLP(2, [16], 5)), Logistic(pv.nn.MLP(5, [16], 2 * 2)))
    before = pv.log_marginal(vae, x, 50).log_marginal.mean()
    particles = 1 if estimator == "auto" else 4
    pv.fit(
        vae, x, epochs=60, lr=1e-2, progress=False, estimator=estimator, num_particles=particles
    )
    assert pv.log_marginal(vae, x, 50).log_marginal.mean() > before + 0.3
    plan = pv.plan(vae, x, estimator, num_particles=particles)
    if estimator == "auto":
        assert "no closed-form KL is known for Logistic against Cauchy" in plan.why
    derivation = pv.explain(vae, x)
    torch.manual_seed(0)
    loss = derivation.plan.objective(vae.model, vae.guide, x).loss
    assert derivation.evaluate(x) == pytest.approx(float(loss.detach()), rel=1e-5)


def test_counts_under_a_strangers_support_are_checked():
    vae = pv.VAE(Cauchy(2), Geometric(pv.nn.MLP(2, [], 5)), Logistic(pv.nn.MLP(5, [], 4)))
    with pytest.raises(ValueError, match=r"\{0, 1, 2, ...\}, the support of Geometric; got 0.5"):
        pv.fit(vae, torch.full((4, 5), 0.5), progress=False)
