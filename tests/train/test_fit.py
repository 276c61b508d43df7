"""Training reaches the optimum where it is known, with batches of any size."""

import pytest
import torch
from checks import Exact
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import pyro_vae as pv


def make():
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 3)),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, 8, 4)),
    )


@pytest.mark.parametrize(
    "rows,batches", [(41, [20, 21]), (40, [20, 20]), (21, [21]), (45, [20, 20, 5])]
)
def test_a_single_last_row_joins_if_batches_are_normalized(rows, batches):
    encoder = torch.nn.Sequential(
        torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 4)
    )
    vae, seen = make(), []
    vae.posterior = pv.posteriors.MeanFieldNormal(encoder)
    encoder[1].register_forward_hook(lambda m, i, o: seen.append(len(o)) if m.training else None)
    history = pv.fit(vae, torch.randn(rows, 3), epochs=1, batch_size=20, progress=False)
    assert sorted(seen[-len(batches) :]) == sorted(batches) and history["step"] == [len(batches)]
    with pytest.raises(ValueError, match="batch_size 1"):
        pv.fit(vae, torch.randn(9, 3), epochs=1, batch_size=1, progress=False)


def train_linear(latent_dim, epochs):
    x = torch.from_numpy(load_digits().data / 16)
    torch.manual_seed(0)
    outputs = latent_dim + latent_dim * (latent_dim + 1) // 2
    vae = pv.VAE(
        pv.priors.StandardNormal(latent_dim),
        pv.likelihoods.Gaussian(pv.nn.MLP(latent_dim, [], 64), sigma="shared", scale=0.3),
        pv.posteriors.FullCovarianceNormal(pv.nn.MLP(64, [], outputs), latent_dim),
    )
    pv.fit(vae, x, epochs=epochs, batch_size=len(x), lr=3e-2, schedule="cosine", progress=False)
    return vae, x, PCA(latent_dim, svd_solver="full").fit(x.numpy()).score(x.numpy())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "latent_dim,epochs",
    [pytest.param(*run, marks=pytest.mark.slow) for run in ((5, 1500), (10, 5000))],
)
def test_training_reaches_the_ppca_optimum(latent_dim, epochs):
    """A linear VAE with a learned sigma is probabilistic PCA (Lucas et al., 2019)."""
    vae, x, optimum = train_linear(latent_dim, epochs)
    evidence = float(Exact(vae).marginal.log_prob(x).mean())
    assert optimum - 0.005 < evidence <= optimum + 1e-6

    vae.likelihood.requires_grad_(False)  # only the guide: how tight can the bound be?
    pv.fit(
        vae, x, epochs=epochs // 2, batch_size=len(x), lr=1e-2, schedule="cosine", progress=False
    )
    elbo = float(pv.elbo(vae, x, 50).mean())
    print(f"k={latent_dim}: PCA {optimum:.4f}, evidence {evidence:.4f}, ELBO {elbo:.4f} nats")
    assert evidence - 0.01 < elbo < evidence + 0.01
