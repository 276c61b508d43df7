r"""How likely are the data? Importance sampling from the guide."""

from collections.abc import Iterator
from math import ceil, log, prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

from ..data import Split, as_split
from .checks import check_rows
from .pareto import pareto_shape
from .pure import pure

ELEMENTS_AT_ONCE = 4_000_000
r"""How many numbers p(x | z) may have in memory at a time: rows x samples x elements of x."""


class LogMarginal(NamedTuple):
    r"""An estimate of :math:`\log p(x)` for every datum, each field of shape `(B,)`.

    Attributes:
        log_marginal: The estimate, in nats; biased low, less so with more samples.
        mc_se: Its Monte Carlo standard error, in nats, by the delta method.
        ess: The effective sample size :math:`(\sum_k w_k)^2 / \sum_k w_k^2`, from 1 to K.
        khat: The shape of the Pareto tail of the weights; above 0.7 the standard error and the
            estimate are not to be trusted.
    """

    log_marginal: Tensor
    mc_se: Tensor
    ess: Tensor
    khat: Tensor


def log_marginal(
    vae: Any,
    x: Tensor | np.ndarray | Split,
    num_samples: int = 500,
    *,
    index: Tensor | None = None,
    seed: int = 0,
) -> LogMarginal:
    r"""Estimates :math:`\log p(x)` of each datum by importance sampling from the guide.

    .. math:: \log \frac{1}{K} \sum_k w_k, \quad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad
        z_k \sim q(z \mid x)

    Rows and samples are streamed in chunks, so memory does not grow with them. Nothing changes:
    parameters, buffers, flags and random state are the same after as before.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), Eq. 8
        | https://arxiv.org/abs/1509.00519
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024)
        | https://arxiv.org/abs/1507.02646

    Arguments:
        vae: A module with a Pyro ``model`` and ``guide``.
        x: The data, of shape `(B, *x_shape)`.
        num_samples: The number of samples :math:`K` per datum.
        index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.
        seed: Seeds the samples.

    Returns:
        The estimate, its error, effective sample size and tail shape, each of shape `(B,)`.

    Raises:
        ValueError: `num_samples` is not positive, or the posterior is a point.
    """
    tail = min(num_samples // 5, ceil(3 * sqrt(num_samples)))
    chunks = []
    with pure(vae, seed) as device:
        for weights in log_weights(vae, as_split(x).to(device), num_samples, index):
            first = next(weights)
            total, squares = first.logsumexp(0), (2 * first).logsumexp(0)
            largest = first.topk(min(tail + 1, len(first)), dim=0).values
            for w in weights:
                total = total.logaddexp(w.logsumexp(0))
                squares = squares.logaddexp((2 * w).logsumexp(0))
                w = torch.cat([largest, w])
                largest = w.topk(min(tail + 1, len(w)), dim=0).values
            ess = (2 * total - squares).exp().clamp(1, num_samples)
            variance = (num_samples / ess - 1) / (num_samples - 1 or float("nan"))
            estimate = total - log(num_samples)
            chunks.append(LogMarginal(estimate, variance.sqrt(), ess, pareto_shape(largest)))
    return LogMarginal(*(torch.cat(field) for field in zip(*chunks)))


def elbo(
    vae: Any,
    x: Tensor | np.ndarray | Split,
    num_samples: int = 1,
    *,
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Estimates the evidence lower bound of each datum.

    .. math:: \frac{1}{K} \sum_k \log \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Arguments:
        vae: A module with a Pyro ``model`` and ``guide``.
        x: The data, of shape `(B, *x_shape)`.
        num_samples: The number of samples :math:`K` per datum.
        index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.
        seed: Seeds the samples.

    Returns:
        The bound in nats, of shape `(B,)`.
    """
    with pure(vae, seed) as device:
        return torch.cat(
            [
                torch.stack([w.sum(0) for w in weights]).sum(0) / num_samples
                for weights in log_weights(vae, as_split(x).to(device), num_samples, index)
            ]
        )


def log_weights(
    vae: Any, split: Split, num_samples: int, index: Tensor | None = None
) -> Iterator[Iterator[Tensor]]:
    r"""Streams :math:`\log p(x, z_k) - \log q(z_k \mid x)`: chunks of rows, in each of samples.

    Yields:
        For each chunk of rows, an iterator over tensors of shape `(k, b)` in double precision.
    """
    if num_samples < 1:
        raise ValueError(f"Expected at least one sample; got num_samples = {num_samples}.")
    if getattr(getattr(vae, "posterior", None), "density", "anywhere") == "none":
        raise ValueError(
            f"Expected a posterior with a density; got {type(vae.posterior).__name__}, a point. "
            "log p(x) exists all the same: use AIS from the prior."
        )
    check_rows(vae, index)
    at_once = max(1, ELEMENTS_AT_ONCE // prod(split.x_shape))
    samples = min(num_samples, max(1, at_once // min(len(split), 100)))
    rows = max(1, at_once // samples)

    for start in range(0, len(split), rows):
        x = split.rows(slice(start, start + rows))
        known = {} if index is None else {"index": index[start : start + rows].to(x.device)}
        yield (
            _log_weights(vae, x, min(samples, num_samples - done), **known).double()
            for done in range(0, num_samples, samples)
        )


def _log_weights(vae: nn.Module, x: Tensor, num_samples: int, **known: Tensor) -> Tensor:
    r"""Returns the log weights of fresh samples, of shape `(num_samples, B)`."""
    with pyro.plate("particles", num_samples, dim=-2):
        q = poutine.trace(vae.guide).get_trace(x, **known)
        p = poutine.trace(poutine.replay(vae.model, trace=q)).get_trace(x, **known)
    return _log_density(p) - _log_density(q)


def _log_density(trace: poutine.Trace) -> Tensor:
    trace = prune_subsample_sites(trace)
    trace.compute_log_prob()
    sites = [site["log_prob"] for site in trace.nodes.values() if site["type"] == "sample"]
    return torch.stack(torch.broadcast_tensors(*sites)).sum(0)
