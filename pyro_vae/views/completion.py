r"""Completions of data, and whether they can be trusted."""

from collections.abc import Sequence
from math import log10
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import Column
from ..statistics import EVEN

KHAT = 0.7
ESS = 100.0  # the error of a mean is then a tenth of the spread of its draws
RHAT = 1.05


class Completed(NamedTuple):
    r"""What a method found of some data; fields as in :class:`Imputed`."""

    draws: Tensor
    mean: Tensor
    ess: Tensor
    khat: Tensor
    rhat: Tensor
    acceptance: Tensor
    holes: Tensor


class Imputed(NamedTuple):
    r"""Data without holes, and how far they can be trusted.

    Attributes:
        draws: Draws of whole data, of shape `(num_samples, B, *x_shape)`; what was there is there.
        mean: The posterior mean of each element, of shape `(B, *x_shape)`, by all particles or by
            all that chains visited.
        ess: The effective number of particles of each datum, or that of its chains: the smallest
            of means and second moments of latent features, of shape `(B,)`.
        khat: The tail of the weights of particles, of shape `(B,)`; NaN under NUTS.
        rhat: The largest split R-hat of the chains, of shape `(B,)`; NaN without chains.
        acceptance: Which share of its proposals Gibbs accepted, of shape `(B,)`; NaN elsewhere.
        trusted: Whether the draws of a datum can be taken for those of the posterior, of shape
            `(B,)`: k-hat at most :math:`\min(1 - 1 / \log_{10} K, 0.7)` for `K` particles, or
            R-hat at most 1.05 for chains; and an effective size of 100 at least.
        reason: Why, in a sentence, and what to do.
    """

    draws: Tensor
    mean: Tensor
    ess: Tensor
    khat: Tensor
    rhat: Tensor
    acceptance: Tensor
    trusted: Tensor
    reason: str


def nothing_like(ess: Tensor) -> Tensor:
    r"""What is not known of data."""
    return torch.full_like(ess, torch.nan)


def judged(method: str, fields: Any, num_particles: int) -> Imputed:
    r"""Says whether completions can be trusted, and why.

    References:
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024), Sec. 3.2.4, the threshold
        | https://arxiv.org/abs/1507.02646

    Arguments:
        method: How they were drawn.
        fields: Those of :class:`Completed`, for all data.
        num_particles: The number of particles.
    """
    found = Completed(*fields)
    mean = torch.where(found.holes, found.mean, found.draws[0])  # what is known stays to the bit
    found = found._replace(mean=mean)
    if method == "sir":
        limit = min(1 - 1 / log10(num_particles), KHAT) if num_particles > 1 else 0.0
        even = (num_particles / found.ess - 1).clamp(min=0).sqrt() < EVEN
        good, name, worst = (found.khat <= limit) | even, "k-hat", found.khat
    else:
        limit, name, worst = RHAT, "R-hat", found.rhat
        good = worst <= limit
    some = found.holes.flatten(1).any(1)
    trusted = (good & (found.ess >= ESS)) | ~some
    count, wrong = int(some.sum()), int((~trusted).sum())
    if not count:
        reason = "No element is missing."
    else:
        known = worst[some & ~worst.isnan()]
        shown = f"{name} up to {float(known.max()):.2f}, " if len(known) else ""
        shown += f"ESS from {float(found.ess[some].min()):.0f}"
        if method == "gibbs":
            shown += f", acceptance from {float(found.acceptance[some].min()):.2f}"
        wanted = f"{name} <= {limit:.3g} and ESS >= {ESS:.0f}"
        reason = f"All {count} data with holes have {wanted}: {shown}."
        if wrong:
            reason = (
                f"Not to be trusted for {wrong} of {count} data with holes, which want {wanted}; "
                f"got {shown}. {_remedy(method)}"
            )
    return Imputed(*found[:6], trusted, reason)


def single(found: Imputed, columns: Sequence[Column] = ()) -> Tensor:
    r"""Returns one completion of each datum: the posterior mean of numbers, and the category that
    is drawn most often, of shape `(B, *x_shape)`.

    Arguments:
        found: What :func:`impute` returned.
        columns: The columns of a table.
    """
    x = found.mean.clone()
    for j, column in enumerate(columns):
        if column.categories:
            x[:, j] = found.draws[:, :, j].round().mode(0).values
    return x


def _remedy(method: str) -> str:
    if method == "sir":
        return "Take more particles (num_particles), or method='gibbs'."
    other = ", or method='nuts' for continuous latent variables" if method == "gibbs" else ""
    return f"Take more steps (num_steps){other}."
