r"""What do models without a network say? A floor for every number.

Each function fits on training data and returns :math:`\log p(x)` of every test datum, exact, in
nats, with respect to the measure of the data as they are.
"""

from math import log, pi

import numpy as np
import torch
from torch import Tensor

from ..counted import counted
from ..data import Split, as_split
from ..randomness import stream

ROWS_AT_ONCE = 4096
TOLERANCE = 1e-4


def independent_pixels(train: Tensor | Split, test: Tensor | Split) -> Tensor:
    r"""Returns :math:`\log p(x) = \sum_d \log p_d(x_d)` of discrete data.

    :math:`p_d` are the frequencies of the training data, with one count more for each level
    (Laplace's rule), so that none is zero.

    Arguments:
        train: The training data: bits or levels 0, 1, ...
        test: The test data.

    Returns:
        The log probabilities, of shape `(B,)`.
    """
    fitted, tested = _levels(train), _levels(test)
    levels = int(max(fitted.max(), tested.max())) + 1
    counts = torch.stack([(fitted == level).double().sum(0) for level in range(levels)])
    log_p = ((counts + 1) / (len(fitted) + levels)).log()  # (levels, D)
    return log_p.gather(0, tested).sum(1)


@counted
def bernoulli_mixture(
    train: Tensor | Split,
    test: Tensor | Split,
    num_components: int = 50,
    num_steps: int = 100,
    *,
    seed: int = 0,
) -> Tensor:
    r"""Returns :math:`\log p(x)` of a mixture of Bernoulli vectors, fitted by EM to bits.

    .. math:: p(x) = \sum_k \pi_k \prod_d \mu_{kd}^{x_d} (1 - \mu_{kd})^{1 - x_d}

    References:
        | Pattern Recognition and Machine Learning (Bishop, 2006), Eq. 9.48 and 9.56 to 9.60

    Arguments:
        train: The training data, bits.
        test: The test data, bits.
        num_components: The number of components.
        num_steps: The number of EM steps at most; fewer where the likelihood stands still.
        seed: Seeds the start.
    """
    x = _bits(train)
    generator = torch.Generator().manual_seed(stream(seed, "mixture"))
    chosen = torch.randperm(len(x), generator=generator)[:num_components]
    means = 0.25 + 0.5 * x[chosen]
    weights = torch.full((len(chosen),), 1 / len(chosen), dtype=x.dtype)
    before = -float("inf")
    for _ in range(num_steps):
        joint = _bernoulli(x, means) + weights.log()
        evidence = joint.logsumexp(1)
        r = (joint - evidence[:, None]).exp()
        size = r.sum(0)
        means = (r.T @ x + 1) / (size[:, None] + 2)
        weights = (size + 1) / (len(x) + len(size))
        now = float(evidence.mean())
        if now - before < TOLERANCE:
            break
        before = now
    return (_bernoulli(_bits(test), means) + weights.log()).logsumexp(1)


@counted
def ppca(train: Tensor | Split, test: Tensor | Split, latent_dim: int) -> Tensor:
    r"""Returns :math:`\log p(x)` of probabilistic PCA at its maximum likelihood.

    References:
        | Probabilistic Principal Component Analysis (Tipping & Bishop, 1999), Eq. 7 and 8

    Arguments:
        train: The training data, real vectors or images.
        test: The test data.
        latent_dim: The number of latent features, below that of `x`.
    """
    mean, covariance = _moments(train)
    values, vectors = torch.linalg.eigh(covariance)
    rest = len(values) - latent_dim
    _check_latent_dim(latent_dim, len(values))
    noise = values[:rest].mean().clamp(min=1e-12)
    w = vectors[:, rest:] * (values[rest:] - noise).clamp(min=0).sqrt()
    return _gaussian(_reals(test) - mean, w, noise.expand(len(values)))


@counted
def factor_analysis(
    train: Tensor | Split, test: Tensor | Split, latent_dim: int, num_steps: int = 200
) -> Tensor:
    r"""Returns :math:`\log p(x)` of factor analysis, a noise of its own for each element, by EM.

    References:
        | EM Algorithms for ML Factor Analysis (Rubin & Thayer, 1982)
        | Pattern Recognition and Machine Learning (Bishop, 2006), Eq. 12.66 to 12.70

    Arguments:
        train: The training data, real vectors or images.
        test: The test data.
        latent_dim: The number of latent features, below that of `x`.
        num_steps: The number of EM steps.
    """
    mean, covariance = _moments(train)
    _check_latent_dim(latent_dim, len(mean))
    values, vectors = torch.linalg.eigh(covariance)
    floor = 1e-4 * values.mean()
    w = vectors[:, -latent_dim:] * values[-latent_dim:].clamp(min=0).sqrt()
    noise = covariance.diagonal().clone().clamp(min=float(floor))
    for _ in range(num_steps):
        scaled = w.T / noise
        g = torch.linalg.inv(torch.eye(latent_dim, dtype=w.dtype) + scaled @ w)
        gain = g @ scaled  # E[z | x] = gain (x - mean)
        cross = covariance @ gain.T
        second = g + gain @ cross
        w = torch.linalg.solve(second, cross.T).T
        noise = (covariance - w @ cross.T).diagonal().clamp(min=float(floor))
    return _gaussian(_reals(test) - mean, w, noise)


# --- Parts --------------------------------------------------------------------------------------


def _rows(data: Tensor | np.ndarray | Split) -> Tensor:
    split = as_split(data).freeze(0)
    return torch.cat([x.flatten(1) for x in split.chunks(ROWS_AT_ONCE)]).cpu()


def _levels(data: Tensor | Split) -> Tensor:
    x = _rows(data)
    if not (x == x.round()).all() or x.min() < 0:
        raise ValueError(
            "Expected levels 0, 1, ...; got other numbers. Densities of real data and "
            "probabilities of levels cannot be compared: take ppca or factor_analysis."
        )
    return x.long()


def _bits(data: Tensor | Split) -> Tensor:
    x = _levels(data)
    if x.max() > 1:
        raise ValueError(f"Expected bits; got levels up to {int(x.max())}.")
    return x.double()


def _reals(data: Tensor | Split) -> Tensor:
    return _rows(data).double()


def _moments(data: Tensor | Split) -> tuple[Tensor, Tensor]:
    x = _reals(data)
    mean = x.mean(0)
    return mean, (x - mean).T @ (x - mean) / len(x)


def _check_latent_dim(latent_dim: int, dim: int) -> None:
    if not 0 < latent_dim < dim:
        raise ValueError(f"Expected from 1 to {dim - 1} latent features; got {latent_dim}.")


def _bernoulli(x: Tensor, means: Tensor) -> Tensor:
    logits, rest = means.logit(), (-means).log1p()
    return x @ logits.T + rest.sum(1)


def _gaussian(x: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    r"""The log density of :math:`\mathcal{N}(0, W W^\top + \mathrm{diag}(noise))`."""
    inner = torch.eye(w.shape[1], dtype=w.dtype) + (w.T / noise) @ w
    tril = torch.linalg.cholesky(inner)
    projected = torch.linalg.solve_triangular(tril, (w.T / noise) @ x.T, upper=False)
    square = (x.square() / noise).sum(1) - projected.square().sum(0)
    volume = 2 * tril.diagonal().log().sum() + noise.log().sum()
    return -(square + volume + len(noise) * log(2 * pi)) / 2
