r"""Do two samples have one law? Counts of both in random regions."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..counted import counted
from ..statistics import Mean
from .neighbours import vectors

UNIT = "chi-squared per degree of freedom"


class PQMass(NamedTuple):
    r"""How unevenly two samples fall into random regions.

    Attributes:
        chi2: The chi-squared of the counts per degree of freedom, the mean over tessellations; 1
            on average for samples of one law. Its error is over tessellations.
        by_chance: Its mean under permutations of all rows, which have one law; its error is
            their standard deviation.
        p_value: How often a permutation has as much, or more: uniform for samples of one law,
            however small they are.
    """

    chi2: Mean
    by_chance: Mean
    p_value: float


@counted
def pqmass(
    a: Tensor,
    b: Tensor,
    num_regions: int = 50,
    num_tessellations: int = 20,
    num_permutations: int = 999,
    *,
    seed: int = 0,
) -> PQMass:
    r"""Tests whether two samples have one law, by the shares of both in Voronoi cells.

    .. math:: \chi^2 = \sum_k \frac{(a_k - f t_k)^2}{t_k f (1 - f)}, \quad t_k = a_k + b_k, \;
        f = \frac{n_a}{n_a + n_b}

    The centres of the cells are rows of both samples together. So whichever rows are called `a`,
    the cells are the same, and permutations of the names give an exact test of any number of
    tessellations together.

    References:
        | PQMass: Probabilistic Assessment of the Quality of Generative Models using Probability
        | Mass Estimation (Lemos et al., 2025), Sec. 2
        | https://arxiv.org/abs/2402.04355

    Arguments:
        a: Independent draws, of shape `(N, dim)`.
        b: Others, of shape `(M, dim)`. Distances are Euclidean, so that columns should have
            comparable units.
        num_regions: The number of cells, at most that of all rows.
        num_tessellations: How many times the centres are drawn.
        num_permutations: The smallest p value is one over so many, and one more.
        seed: Seeds centres and permutations.

    Raises:
        ValueError: There are no rows, they have several widths, or a number is not finite.
    """
    a, b = vectors(a=a, b=b)
    both = torch.cat([a, b])
    both = both - both.median(0).values  # cells are found by matrix products, which round squares
    generator = torch.Generator().manual_seed(seed)
    count, regions = len(both), min(num_regions, len(both))
    names = torch.zeros(num_permutations + 1, count)  # 1 for rows of `a`
    names[0, : len(a)] = 1
    for row in names[1:]:
        row[torch.randperm(count, generator=generator)[: len(a)]] = 1
    share = len(a) / count
    found = []
    for _ in range(num_tessellations):
        centres = both[torch.randperm(count, generator=generator)[:regions]]
        cell = torch.nn.functional.one_hot(torch.cdist(both, centres).argmin(1), regions)
        cell = cell[:, cell.any(0)].float()
        total, mine = cell.sum(0), names @ cell  # whole numbers, exact
        squares = (mine - share * total).double().square() / (total * share * (1 - share))
        found.append(squares.sum(1) / max(1, len(total) - 1))
    each = torch.stack(found)
    own, chance = each.mean(0)[0], each.mean(0)[1:]
    as_large = int((chance >= own - 1e-9).sum())
    return PQMass(
        Mean.of(each[:, 0], UNIT),
        Mean(chance.mean(), chance.std(), UNIT),
        (1 + as_large) / (1 + num_permutations),
    )
