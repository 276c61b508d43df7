"""A small VAE to train, and what is equal after it."""

import torch
from checks import D, L

import pyro_vae as pv

QUIET = {"progress": False}


def vae(seed=0):
    torch.manual_seed(seed)
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(D, [16], 2 * L))
    return pv.VAE(
        pv.priors.Vamp(posterior, torch.randn(4, D)),
        pv.likelihoods.Gaussian(pv.nn.MLP(L, [16], D)),
        posterior,
    )


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
