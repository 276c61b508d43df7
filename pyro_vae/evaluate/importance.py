r"""How likely are the data? Importance sampling from the guide."""

import os
import zlib
from collections.abc import Iterator
from hashlib import sha256
from math import ceil, log, prod, sqrt
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import pyro
import torch
from torch import Tensor

from ..checks import Data, check_rows, opened
from ..compile import Staged
from ..counted import counted
from ..data import Split, fingerprint
from ..deprecation import renamed_arguments
from ..programs import density_of, device_of, evidence, guide_name, rows_at_once, weigh
from ..randomness import reseed, stream
from ..ranks import here
from ..statistics import NORMAL, interval, pareto_shape
from ..writing import replacing

FEWEST = 25  # samples, of which the largest fifth is a tail


class LogMarginal(NamedTuple):
    r"""An estimate of :math:`\log p(x)` for every datum, each field of shape `(B,)`.

    Attributes:
        log_marginal: The estimate, in nats; biased low, less so with more samples.
        mc_se: Its Monte Carlo standard error, in nats, by the delta method: that of the weights
            seen, and too small where few large ones matter. ``lower`` and ``upper`` are honest.
        ess: The effective sample size :math:`(\sum_k w_k)^2 / \sum_k w_k^2`, from 1 to K; infinite
            where :math:`\log p(x)` is exact.
        khat: The shape of the Pareto tail of the weights; NaN where they have none.
        rise: What the estimate gained by its second half of samples, in nats: the estimate minus
            the mean of those from either half. It is zero on average only where more samples
            would not help.
        lower: The lower end of a 95 % interval for :math:`\log p(x)`, in nats.
        upper: Its upper end, farther off, since large weights are rare. Both are NaN where no
            interval can be given: :meth:`errors` says why.
        num_samples: The number `K` of samples; infinite where :math:`\log p(x)` is exact.
    """

    log_marginal: Tensor
    mc_se: Tensor
    ess: Tensor
    khat: Tensor
    rise: Tensor
    lower: Tensor
    upper: Tensor
    num_samples: Tensor

    @property
    def exact(self) -> bool:
        r"""Whether :math:`\log p(x)` is a sum over all values of the latent variables."""
        return bool(self.num_samples.isinf().all())

    @property
    def mean_se(self) -> float:
        r"""The Monte Carlo standard error of the mean over data, in nats: by the intervals where
        there are some, else by the delta method, which is too small there."""
        known = (self.upper - self.lower) / (2 * NORMAL)
        each = torch.where(known.isnan(), self.mc_se, known)
        return float(each.square().sum().sqrt()) / len(each)

    def errors(self) -> str:
        r"""Says of how many data the error is known, and why not of the others."""
        missing = int(self.lower.isnan().sum())
        if not missing:
            return "Every datum has a 95 % interval."
        count, samples = len(self.lower), float(self.num_samples.min())
        if missing == count and samples < FEWEST:
            return (
                f"No datum has a 95 % interval: {samples:.0f} samples are too few to see the tail "
                f"of the weights, which takes {FEWEST} at least."
            )
        return (
            f"{missing / count:.0%} of the data have no 95 % interval: the tail of their weights "
            "is too heavy to say how much of it was not drawn."
        )


@renamed_arguments(kept="cache")
@counted
def log_marginal(
    vae: Any,
    x: Data,
    num_samples: int = 500,
    *,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = None,
    skip_checks: bool = False,
    **known: Any,
) -> LogMarginal:
    r"""Estimates :math:`\log p(x)` of each datum by importance sampling from the guide.

    .. math:: \log \frac{1}{K} \sum_k w_k, \quad w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad
        z_k \sim q(z \mid x)

    Where all latent variables are discrete and have 65,536 joint values at most, these are summed
    instead: the result is exact, whatever `num_samples`.

    Rows and samples are streamed in chunks, so memory does not grow with them. Nothing changes:
    parameters, buffers, flags and random state are the same after as before.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), Eq. 8
        | https://arxiv.org/abs/1509.00519
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024)
        | https://arxiv.org/abs/1507.02646

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide. With
            :func:`pyro_vae.evaluate.prior_guide` as the guide this is naive Monte Carlo.
        x: The data, of shape `(B, *x_shape)`.
        num_samples: The number of samples :math:`K` per datum.
        seed: Seeds the samples.
        cache: A file ``.npz`` that caches finished rows. If it is there, of the same parameters,
            data, samples and seed, the rest is done and the result is that of an uninterrupted
            call. Several ranks write it at the end.
        skip_checks: Takes data that the likelihood's support does not hold, too. The result then
            is no log density.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The estimate, its error, effective sample size, tail shape and rise, each of shape `(B,)`.

    Raises:
        ValueError: Data lie outside of the likelihood's support; `num_samples` is not positive;
            the posterior is a point; a scale, a mask or the rows of a plate differ between model
            and guide; or `cache` belongs to something else.
    """
    tail = min(num_samples // 5, ceil(3 * sqrt(num_samples)))
    with opened(vae, x, known, seed, rows=False, skip_checks=skip_checks) as (program, split):
        summed = evidence(program, split)
        if summed is not None:
            nothing, many = torch.zeros_like(summed), torch.full_like(summed, torch.inf)
            return LogMarginal(summed, nothing, many, nothing / 0, nothing, summed, summed, many)
        done = _Cache(cache, program, split, num_samples, seed)
        chunks = log_weights(program, split, num_samples, seed, skip=done.rows)
        found = (_summary(weights, num_samples, tail) for weights in chunks)
        for chunk in found if here().alone else here().in_order(found, split.device):
            done.add(chunk)
    return done.result()


@counted
def elbo(
    vae: Any,
    x: Data,
    num_samples: int = 1,
    *,
    seed: int = 0,
    skip_checks: bool = False,
    **known: Any,
) -> Tensor:
    r"""Estimates the evidence lower bound of each datum.

    .. math:: \frac{1}{K} \sum_k \log \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        num_samples: The number of samples :math:`K` per datum.
        seed: Seeds the samples.
        skip_checks: As in :func:`log_marginal`.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The bound in nats, of shape `(B,)`.

    Raises:
        ValueError: As :func:`log_marginal`.
    """
    with opened(vae, x, known, seed, rows=False, skip_checks=skip_checks) as (program, split):
        chunks = log_weights(program, split, num_samples, seed)
        sums = (torch.stack([w.sum(0) for w in chunk]).sum(0) for chunk in chunks)
        return torch.cat(here().in_order(sums, split.device)) / num_samples


@counted
def log_weights(
    vae: Any, split: Split, num_samples: int, seed: int = 0, *, skip: int = 0
) -> Iterator[Iterator[Tensor]]:
    r"""Streams :math:`\log p(x, z_k) - \log q(z_k \mid x)`: chunks of rows, in each of samples.

    Each chunk of rows has random numbers of its own, so that the first rows can be skipped. Among
    ranks, these are the chunks of this one.

    Yields:
        For each chunk of rows, an iterator over tensors of shape `(k, b)` in double precision.
    """
    if density_of(vae) == "none":
        raise ValueError(
            f"Expected a posterior with a density; got {guide_name(vae)}, a point. "
            "log p(x) exists all the same: use AIS from the prior (pyro_vae.ais)."
        )
    check_rows(vae, split.known)
    at_once = rows_at_once(split)
    samples = min(num_samples, max(1, at_once // min(len(split), 100)))
    rows = max(1, at_once // samples)

    def fresh(x: Tensor, count: int, **known: Any) -> list[Tensor]:
        return [weigh(vae.model, vae.guide, x, count, **known).log_weights.double()]

    staged = Staged(fresh, vae, float(num_samples) * len(split) * prod(split.x_shape))
    for start in here().own([s for s in range(0, len(split), rows) if s >= skip]):
        part = (start,) if start else ()
        reseed(split.device, stream(seed, "evaluation", *part))
        x, known = split.batch(slice(start, start + rows))
        yield (
            staged(x, min(samples, num_samples - done), **known)[0]
            for done in range(0, num_samples, samples)
        )


def log_mean(total: Tensor, squares: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    r"""Returns the log of the mean weight, its standard error and the effective sample size.

    Arguments:
        total: The log of the sum of `count` weights.
        squares: The log of the sum of their squares.
        count: How many there are.
    """
    ess = (2 * total - squares).exp().clamp(1, count)
    variance = (count / ess - 1) / (count - 1 or float("nan"))
    return total - log(count), variance.sqrt(), ess


def _summary(weights: Iterator[Tensor], num_samples: int, tail: int) -> LogMarginal:
    r"""Turns streamed log weights of some rows into an estimate."""
    half, taken = num_samples // 2, 0
    halves: tuple[list[Tensor], list[Tensor]] = ([], [])
    squares, largest = [], torch.empty(0)
    for w in weights:
        cut = min(max(half - taken, 0), len(w))
        for part, parts in zip((w[:cut], w[cut:]), halves):
            parts += [part.logsumexp(0)] if len(part) else []
        taken += len(w)
        squares.append((2 * w).logsumexp(0))
        w = torch.cat([largest, w]) if len(largest) else w
        largest = w.topk(min(tail + 1, len(w)), dim=0).values

    first, second = (torch.stack(parts).logsumexp(0) if parts else None for parts in halves)
    assert second is not None
    total = second if first is None else first.logaddexp(second)
    total_squares = torch.stack(squares).logsumexp(0)
    estimate, mc_se, ess = log_mean(total, total_squares, num_samples)
    rise = torch.full_like(estimate, torch.nan)
    if first is not None:
        rise = estimate - (first - log(half) + second - log(num_samples - half)) / 2
    return LogMarginal(
        estimate,
        mc_se,
        ess,
        pareto_shape(largest),
        rise,
        *interval(total, total_squares, largest, num_samples),
        torch.full_like(estimate, num_samples),
    )


class _Cache:
    r"""The rows that are done, in memory and, if wanted, in a file."""

    def __init__(self, path: Any, vae: Any, split: Split, num_samples: int, seed: int) -> None:
        self.path = None if path is None else Path(path)
        self.chunks: list[LogMarginal] = []
        self.rows, self.about = 0, ""
        if self.path is None:
            return
        rules = (split.binarize, split.levels, split.range, num_samples, seed)
        digest = sha256(f"{fingerprint(split)} {rules}".encode())
        stored = [value for _, value in sorted(pyro.get_param_store().items())]
        for tensor in [*vae.state_dict().values(), *stored]:
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        self.about = digest.hexdigest()
        file = self.path
        fields = here().by_first(lambda: self.stored(file))
        if fields:
            self.chunks = [LogMarginal(*(field.to(device_of(vae)) for field in fields))]
            self.rows = len(self.chunks[0].log_marginal)

    def stored(self, path: Path) -> list[Tensor]:
        r"""The rows in a file, if there is one, which must be about the same numbers."""
        if not path.is_file():
            return []
        try:
            with np.load(path, allow_pickle=False) as file:
                about = str(file["about"])
                fields = [torch.from_numpy(file[name]) for name in LogMarginal._fields]
        except (ValueError, KeyError, EOFError, TypeError, BadZipFile, zlib.error) as error:
            raise ValueError(
                f"Expected the finished rows of an evaluation in {path}; got {error}. Delete the "
                "file, or name another."
            ) from error
        if about != self.about:
            raise ValueError(
                f"Expected rows of this model, data, num_samples and seed in {path}; got others. "
                "Delete the file, or name another."
            )
        return fields

    def add(self, chunk: LogMarginal) -> None:
        self.chunks.append(chunk)
        if self.path is not None and here().rank == 0:
            arrays = {k: v.cpu().numpy() for k, v in self.result()._asdict().items()}
            with replacing(self.path) as partial, partial.open("wb") as file:
                np.savez(file, about=np.array(self.about), **arrays)

    def result(self) -> LogMarginal:
        return LogMarginal(*(torch.cat(field) for field in zip(*self.chunks)))
