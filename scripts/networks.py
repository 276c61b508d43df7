"""Models of papers that a recipe cannot name, since their networks or densities are their own."""

from math import prod, sqrt

import torch
from torch import nn
from torch.nn.functional import softplus

import pyro_vae as pv
from pyro_vae.base import Likelihood


class Gated(nn.Module):
    """A layer whose outputs are multiplied by gates, as in the VampPrior's paper."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.values, self.gates = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.values(x) * self.gates(x).sigmoid()


def gated(x, sizes, y):
    """A network of gated layers and a linear one, from and to numbers of features or shapes."""
    first, last = (prod(s) if isinstance(s, tuple) else s for s in (x, y))
    layers = [*map(Gated, [first, *sizes], sizes), nn.Linear(sizes[-1], last)]
    if isinstance(x, tuple) and len(x) > 1:
        layers.insert(0, nn.Flatten(-len(x)))
    if isinstance(y, tuple) and len(y) > 1:
        layers.append(nn.Unflatten(-1, y))
    return nn.Sequential(*layers)


def gated_vae(prior="standard-normal", latent_dim=40, hidden=(300, 300), pseudo_inputs=500):
    """784-300-300-40 and back, under N(0, I) or the VampPrior (Tomczak & Welling, 2018)."""
    shape = (1, 28, 28)
    posterior = pv.posteriors.MeanFieldNormal(gated(shape, hidden, 2 * latent_dim))
    likelihood = pv.likelihoods.Bernoulli(gated(latent_dim, hidden, shape), event_dim=3)
    for layer in (*posterior.modules(), *likelihood.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=sqrt(2 / layer.in_features))
    if prior == "standard-normal":
        return pv.VAE(pv.priors.StandardNormal(latent_dim), likelihood, posterior)
    pseudo = 0.05 + 0.01 * torch.randn(pseudo_inputs, *shape)
    return pv.VAE(pv.priors.Vamp(posterior, pseudo), likelihood, posterior)


class Centre(nn.Module):
    """Data less their mean, which is a buffer."""

    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, x):
        return x - self.mean


def belief_network(latent_dim=200):
    """One layer of bits, with linear networks and a learned prior (Mnih & Gregor, 2014)."""
    mean, _ = pv.data.moments(pv.data.load("static-mnist", quiet=True).train)
    shape = tuple(mean.shape)
    encoder = nn.Sequential(Centre(mean.float()), pv.nn.MLP(shape, [], latent_dim))
    return pv.VAE(
        pv.priors.Bernoulli(latent_dim, learned=True),
        pv.likelihoods.Bernoulli(pv.nn.MLP(latent_dim, [], shape), event_dim=len(shape)),
        pv.posteriors.Bernoulli(encoder),
    )


class StudentTs(Likelihood):
    """Student's t with location, scale and degrees of freedom of each element by the decoder."""

    outputs_per_element = 3

    def forward(self, z):
        loc, scale, df = self.decode(z).chunk(3, -1)
        law = pv.distributions.StudentT(3 + softplus(df), loc, 1e-3 + softplus(scale))
        return law.to_event(1)


def miwae(columns=30, latent_dim=10, hidden=(128, 128), activation="ReLU"):
    """Networks and Student's t of the MIWAE (Mattei & Frellsen, 2019), for a table with holes."""
    encoder = pv.nn.MLP(2 * columns, hidden, 2 * latent_dim, activation)
    decoder = pv.nn.MLP(latent_dim, hidden, 3 * columns, activation)
    for layer in (*encoder.modules(), *decoder.modules()):
        if isinstance(layer, nn.Linear):
            nn.init.orthogonal_(layer.weight)
    posterior = pv.posteriors.MeanFieldNormal(nn.Sequential(pv.nn.Observed(), encoder))
    likelihood = pv.likelihoods.MissingAtRandom(StudentTs(decoder))
    return pv.VAE(pv.priors.StandardNormal(latent_dim), likelihood, posterior)
