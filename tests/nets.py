"""Small networks, and a model and a guide by hand."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import pyro_vae as pv

B, D, L = 8, 5, 2


def vae(**parts):
    made = {
        "prior": pv.priors.StandardNormal(L),
        "likelihood": pv.likelihoods.Bernoulli(pv.nn.MLP(L, [16], D)),
        "posterior": pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [16], 2 * L)),
    }
    return pv.VAE(**{**made, **parts})


def bits():
    return torch.bernoulli(torch.full((B, D), 0.5))


class Nets(nn.Module):
    """Model and guide of one's own, by hand, to be broken in one place."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 2 * L), nn.Linear(L, D)

    def q(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)

    def p(self):
        return dist.Normal(torch.zeros(L), 1.0).to_event(1)

    def likelihood(self, z):
        return dist.Bernoulli(logits=self.decoder(z)).to_event(1)

    def model(self, x):
        pyro.module("nets", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.p())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x):
        pyro.module("nets", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.q(x))
