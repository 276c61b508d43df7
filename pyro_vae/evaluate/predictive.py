r"""Does the model make such data? Statistics and intervals of what it predicts."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..checks import Data, opened
from ..counted import counted
from ..programs import batches, replicated, sample_sites

ROWS_AT_ONCE = 500


Statistic = Callable[[Tensor], Tensor]

STATISTICS: dict[str, Statistic] = {
    "mean": lambda x: x.flatten(1).nanmean(1),
    "standard deviation": lambda x: (
        (x.flatten(1) - x.flatten(1).nanmean(1, keepdim=True)).square().nanmean(1).sqrt()
    ),
    "largest": lambda x: x.flatten(1).nan_to_num(nan=-torch.inf).amax(1),
    "share of zeros": lambda x: torch.where(x.isnan(), x, x == 0).flatten(1).nanmean(1),
}


class PredictiveCheck(NamedTuple):
    r"""How a statistic of the data lies among those of replicated data.

    Attributes:
        observed: Its mean over the data.
        replicated: Its mean over each replication, of shape `(num_replications,)`.
        p_value: Twice the smaller of :math:`(1 + \text{count}) / (R + 1)` of the replications on
            either side, which the data join; near 0 where the model does not make such data, but
            never below :math:`2 / (R + 1)`.
    """

    observed: float
    replicated: Tensor
    p_value: float


@counted
def predictive_check(
    vae: Any,
    x: Data,
    statistics: Mapping[str, Statistic] = STATISTICS,
    num_replications: int = 100,
    *,
    given: Literal["prior", "posterior"] = "prior",
    seed: int = 0,
    **known: Any,
) -> dict[str, PredictiveCheck]:
    r"""Compares statistics of the data with those of data that the model makes.

    References:
        | Posterior Predictive Assessment of Model Fitness (Gelman et al., 1996), Sec. 2.2
        | Permutation P-values Should Never Be Zero (Phipson & Smyth, 2010), Sec. 3
        | https://arxiv.org/abs/1603.05766

    Arguments:
        vae: The VAE.
        x: The data, of shape `(B, *x_shape)`.
        statistics: Functions of data of shape `(B, *x_shape)` with a number for each datum.
            Where data have holes (NaN), replications have the same.
        num_replications: How many times `B` data are made.
        given: Their latent variables come from the ``"prior"``, as those of new data do, or from
            the ``"posterior"`` of each datum.
        seed: Seeds the replications.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The result for each statistic.

    Raises:
        ValueError: A statistic is not finite.
    """
    with opened(vae, x, known, seed, freeze=True, rows=False) as (program, split):
        observed = {
            name: _averaged(s, split.chunks(ROWS_AT_ONCE)) for name, s in statistics.items()
        }
        replicated: dict[str, list[float]] = {name: [] for name in statistics}
        for _ in range(num_replications):
            made = [
                torch.where(part.isnan(), part, _replicate(program, part, more, given))
                for part, more in batches(split, ROWS_AT_ONCE)
            ]
            for name, statistic in statistics.items():
                replicated[name].append(_averaged(statistic, made))
    checks = {}
    for name, values in replicated.items():
        draws = torch.tensor(values, dtype=torch.float64)
        figures = torch.cat([draws, draws.new_tensor([observed[name]])])
        if not figures.isfinite().all():
            raise ValueError(
                f"Expected a finite statistic of data and replications; got {name!r} with "
                f"{float(figures[~figures.isfinite()][0])}. Leave it out of statistics, or define "
                "it for such data."
            )
        above = 1 + int((draws >= observed[name]).sum())
        below = 1 + int((draws <= observed[name]).sum())
        p_value = min(1.0, 2 * min(above, below) / (len(draws) + 1))
        checks[name] = PredictiveCheck(observed[name], draws, p_value)
    return checks


@counted
def interval_coverage(
    vae: Any,
    x: Data,
    levels: tuple[float, ...] = (0.5, 0.8, 0.95),
    num_draws: int = 99,
    *,
    given: Literal["prior", "posterior"] = "posterior",
    seed: int = 0,
    **known: Any,
) -> dict[float, float]:
    r"""Returns how often predictive intervals hold the elements of `x`.

    For each element the place of the datum among draws of :math:`p(x \mid z)` is found, with
    ties, which discrete data have, broken by chance. Given the posterior, each datum has shown its
    `z`, so that a model that fits covers a little more than the level says, and one that is
    overconfident less.

    Arguments:
        vae: The VAE.
        x: The data, of shape `(B, *x_shape)`.
        levels: The probabilities of the central intervals.
        num_draws: The number of draws for each datum.
        given: Where the latent variables come from, as in :func:`predictive_check`.
        seed: Seeds the draws.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The share of elements inside, for each level.
    """
    inside = {level: 0.0 for level in levels}
    total = 0
    with opened(vae, x, known, seed, freeze=True, rows=False) as (program, split):
        for part, more in batches(split, ROWS_AT_ONCE):
            below, ties = torch.zeros_like(part), torch.zeros_like(part)
            for _ in range(num_draws):
                draw = _replicate(program, part, more, given)
                below += (draw < part).to(part.dtype)
                ties += (draw == part).to(part.dtype)
            place = (below + torch.rand_like(ties) * (ties + 1)) / (num_draws + 1)
            seen = ~part.isnan()
            total += int(seen.sum())
            for level in levels:
                held = ((place - 0.5).abs() <= level / 2) & seen
                inside[level] += float(held.sum())
    return {level: count / total for level, count in inside.items()}


def _replicate(vae: Any, x: Tensor, known: Mapping[str, Tensor], given: str) -> Tensor:
    return sample_sites(replicated(vae, x, known, given))["x"]["value"]


def _averaged(statistic: Statistic, parts: Any) -> float:
    return float(torch.cat([statistic(part) for part in parts]).double().mean())
