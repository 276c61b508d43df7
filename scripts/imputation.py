"""A table with holes, and what fills them without a network: the contenders of the MIWAE."""

import warnings
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from torch import Tensor

import pyro_vae as pv

DIMS, FOLDS = (2, 4, 6, 8, 10), 5  # latent features of pPCA, chosen by cross-validation of cells


def breast_cancer(kind, seed):
    """The standardized table of scikit-learn, with holes in a random half of all cells."""
    table = load_breast_cancer(return_X_y=True)[0]
    whole = torch.from_numpy((table - table.mean(0)) / table.std(0))
    generator = torch.Generator().manual_seed(seed)
    hole = torch.randperm(whole.numel(), generator=generator) < whole.numel() // 2
    x = whole.masked_fill(hole.view_as(whole), torch.nan)
    train = pv.data.as_split(x.float(), "breast cancer, half of its cells missing")
    return SimpleNamespace(train=train, valid=None, test=None, whole=whole, holes=x, seed=seed)


def error(filled, data) -> float:
    """The mean squared error over the holes, whose cells have variance 1 on the whole."""
    there = data.holes.isnan()
    return float((torch.as_tensor(filled) - data.whole)[there].square().mean())


def contenders(data) -> dict[str, float]:
    """The error of each contender on the same holes."""
    x = data.holes.numpy()
    fills = {
        "mean of the column": SimpleImputer(),
        "nearest neighbours, k = 5": KNNImputer(),
        "iterative ridge regression": IterativeImputer(random_state=data.seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        errors = {name: error(fill.fit_transform(x), data) for name, fill in fills.items()}
    dim = best_dim(data.holes, data.seed)
    return errors | {"exact pPCA": error(ppca(data.holes, dim).filled, data)}


def best_dim(x: Tensor, seed: int) -> int:
    """The number of latent features that fills best, on average, cells that were held out."""
    there = (~x.isnan()).flatten().nonzero()[:, 0]
    order = there[torch.from_numpy(np.random.default_rng(seed).permutation(len(there)))]
    losses = dict.fromkeys(DIMS, 0.0)
    for part in order.split(len(order) // FOLDS)[:FOLDS]:
        rest = x.flatten().clone()
        rest[part] = torch.nan
        rest = rest.view_as(x)
        out = rest.isnan() & ~x.isnan()
        for dim in DIMS:
            losses[dim] += float((ppca(rest, dim, steps=100).filled - x)[out].square().sum())
    return min(losses, key=losses.__getitem__)


def ppca(x: Tensor, latent_dim: int, steps: int = 300):
    """Probabilistic PCA of a table with holes: maximum likelihood of what is there, by EM.

    The model is x = W z + mean + noise. `filled` has E[x | what is there] in the holes, exact.

    References:
        Probabilistic Principal Component Analysis (Tipping & Bishop, 1999), App. B
    """
    there, seen = (~x.isnan()).to(x.dtype), x.nan_to_num()
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(x.shape[1], latent_dim, generator=generator, dtype=x.dtype)
    mean, noise = seen.sum(0) / there.sum(0), torch.ones((), dtype=x.dtype)

    def posterior():
        """Mean and covariance of z given what is there, of each row."""
        eye = torch.eye(latent_dim, dtype=x.dtype)
        inner = torch.linalg.inv(noise * eye + torch.einsum("nd,dk,dl->nkl", there, w, w))
        z = torch.einsum("nkl,nl->nk", inner, (there * (seen - mean)) @ w)
        return z, noise * inner

    for _ in range(steps):
        z, covariance = posterior()
        both = torch.cat([z, torch.ones_like(z[:, :1])], 1)  # z and 1: W and the mean at once
        second = both[:, :, None] * both[:, None, :]
        second[:, :-1, :-1] += covariance
        joint = torch.einsum("nd,nk->dk", there * seen, both)[:, :, None]
        solved = torch.linalg.solve(torch.einsum("nd,nkl->dkl", there, second), joint)[:, :, 0]
        w, mean = solved[:, :-1], solved[:, -1]
        spread = torch.einsum("nkl,dk,dl->nd", covariance, w, w)
        noise = (there * ((seen - mean - z @ w.T).square() + spread)).sum() / there.sum()
    filled = torch.where(there.bool(), x, mean + posterior()[0] @ w.T)
    return SimpleNamespace(filled=filled, w=w, mean=mean, noise=noise)
