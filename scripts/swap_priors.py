"""The same networks under several priors and likelihoods: one table.

    python scripts/swap_priors.py

Bits, counts and real numbers are different data: their densities are not comparable, so the table
has a block for each.
"""

import argparse

import torch
from torch import nn

import pyro_vae as pv

parser = argparse.ArgumentParser(description="Compares priors and likelihoods on digits.")
parser.add_argument("--epochs", type=int, default=100)
parser.add_argument("--num-samples", type=int, default=200)
args = parser.parse_args()

LATENT_DIM = 8
X_SHAPE = (1, 8, 8)


def networks(outputs: int = 1, scale: float = 1.0) -> tuple[nn.Module, nn.Module]:
    """An encoder and a decoder, drawn by the same seed every time."""
    torch.manual_seed(0)
    encoder = pv.nn.MLP(X_SHAPE, [100], 2 * LATENT_DIM)
    decoder = pv.nn.MLP(LATENT_DIM, [100], (outputs, *X_SHAPE[1:]))
    return nn.Sequential(pv.nn.Divide(scale), encoder), decoder


LIKELIHOODS = {
    "bits": {
        "Bernoulli": (1, lambda net: pv.likelihoods.Bernoulli(net, event_dim=3)),
    },
    "counts 0..16": {
        "Binomial(16)": (1, lambda net: pv.likelihoods.Binomial(net, 16, event_dim=3)),
    },
    "real numbers in [0, 1]": {
        "Gaussian, shared sigma": (
            1,
            lambda net: pv.likelihoods.Gaussian(net, "shared", scale=0.3, event_dim=3),
        ),
        "Gaussian, fixed sigma 0.2": (
            1,
            lambda net: pv.likelihoods.Gaussian(net, "fixed", scale=0.2, event_dim=3),
        ),
    },
}
DATA = {
    "bits": pv.config.Digits(binarize="dynamic"),
    "counts 0..16": pv.config.Digits(range="levels"),
    "real numbers in [0, 1]": pv.config.Digits(range="unit"),
}
PRIORS = {
    "StandardNormal": lambda q, x: pv.priors.StandardNormal(LATENT_DIM),
    "Vamp, 50 inputs": lambda q, x: pv.priors.Vamp(q, x[:50]),
}


def with_error(values: torch.Tensor) -> str:
    return f"{values.mean():9.2f} +- {values.std() / len(values) ** 0.5:.2f}"


for representation, likelihoods in LIKELIHOODS.items():
    data = pv.data.load(DATA[representation])
    print(f"\n{representation} ({len(data.test)} test data, nats per datum)")
    print(f"  {'likelihood':28s}{'prior':18s}{'ELBO':>12s}{'log p(x)':>18s}")
    for name, (outputs, make_likelihood) in likelihoods.items():
        for prior, make_prior in PRIORS.items():
            encoder, decoder = networks(outputs, data.train.scale)
            posterior = pv.posteriors.MeanFieldNormal(encoder)
            vae = pv.VAE(
                make_prior(posterior, data.train.rows(slice(0, 50))),
                make_likelihood(decoder),
                posterior,
            )
            options = {"epochs": args.epochs, "lr": 2e-3, "schedule": "cosine"}
            pv.fit(vae, data.train, progress=False, **options)
            elbo = pv.elbo(vae, data.test, 10)
            evidence = pv.log_marginal(vae, data.test, args.num_samples).log_marginal
            print(f"  {name:28s}{prior:18s}{with_error(elbo)}{with_error(evidence)}")
