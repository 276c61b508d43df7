r"""What nearest neighbours say of samples: are they like the data, all of it, or copies of it?"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..counted import counted
from ..statistics import Mean
from .ood import auroc

HALVES = 20
ROWS_AT_ONCE = 2_000_000  # distances


class Fidelity(NamedTuple):
    r"""How far samples and data cover each other.

    Errors are the spread over random halves of the rows of both. They are a little too large:
    from 1.0 to 1.9 times the spread of repeats, where this was measured.

    Attributes:
        precision: The share of samples within a ball around a datum, which reaches to its k-th
            neighbour among the data.
        recall: The share of data within such a ball around a sample.
        density: How many balls of data a sample lies in, over `k`; 1 on average for the law of
            the data. It lessens the weight of outliers, whose balls are large.
        coverage: The share of data whose ball has a sample in it; of one law
            :math:`1 - \prod_{i=1}^{k} \frac{N - i}{N + M - i}` on average.
    """

    precision: Mean
    recall: Mean
    density: Mean
    coverage: Mean


@counted
def fidelity(samples: Tensor, data: Tensor, num_neighbours: int = 5, *, seed: int = 0) -> Fidelity:
    r"""Returns precision, recall, density and coverage of samples.

    All four depend on the numbers of rows: compare them with those of as many data.

    References:
        | Improved Precision and Recall Metric for Assessing Generative Models
        | (Kynkaanniemi et al., 2019), Eq. 1 and 2
        | https://arxiv.org/abs/1904.06991
        | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020),
        | Eq. 3, 4 and 9
        | https://arxiv.org/abs/2002.09797

    Arguments:
        samples: `M` independent draws, or features of them, of shape `(M, dim)`.
        data: `N` data, of shape `(N, dim)`.
        num_neighbours: The number `k` of neighbours to which balls reach.
        seed: Seeds the halves.

    Raises:
        ValueError: There are too few rows.
    """
    s, x = vectors(samples=samples, data=data)
    if min(len(s), len(x)) // 2 <= num_neighbours:
        raise ValueError(
            f"Expected at least {2 * num_neighbours + 2} samples and data for {num_neighbours} "
            f"neighbours; got {len(samples)} and {len(data)}. Draw more, or lower num_neighbours."
        )
    among_samples, among_data, between = _distances(s, s), _distances(x, x), _distances(x, s)
    whole = _four(among_samples, among_data, between, num_neighbours)
    generator, parts = torch.Generator().manual_seed(seed), []
    for _ in range(HALVES):
        i, j = (torch.randperm(len(t), generator=generator)[: len(t) // 2] for t in (s, x))
        kept = among_samples[i][:, i], among_data[j][:, j], between[j][:, i]
        parts.append(_four(*kept, num_neighbours))
    errors = torch.stack(parts).std(0)  # sd^2 (2 / n - 1 / n), that of all n rows
    units = ("of the samples", "of the data", "balls over k", "of the data")
    return Fidelity(*(Mean(*triple) for triple in zip(whole.tolist(), errors.tolist(), units)))


def vectors(**named: Any) -> list[Tensor]:
    r"""Returns rows of one width as vectors, in double precision.

    Raises:
        ValueError: There are none, they have several widths, or a number is not finite.
    """
    found = [torch.as_tensor(rows).double().cpu() for rows in named.values()]
    if any(t.dim() < 2 or not t.numel() for t in found) or len({t[0].numel() for t in found}) > 1:
        shapes = ", ".join(f"{name} of shape {[*t.shape]}" for name, t in zip(named, found))
        raise ValueError(f"Expected one row or more of each, all of one width; got {shapes}.")
    for name, t in zip(named, found):
        if not t.isfinite().all():
            raise ValueError(
                f"Expected finite numbers in {name}; got {float(t[~t.isfinite()][0])}. Distances "
                "to data with holes mean nothing: leave such rows or columns out."
            )
    return [t.flatten(1) for t in found]


def _four(samples: Tensor, data: Tensor, between: Tensor, k: int) -> Tensor:
    r"""The four numbers from distances among samples, among data, and `(N, M)` between them."""
    inside = between <= _radius(data, k)[:, None]
    others = between <= _radius(samples, k)
    return torch.stack(
        [
            inside.any(0).double().mean(),
            others.any(1).double().mean(),
            inside.double().sum(0).mean() / k,
            inside.any(1).double().mean(),
        ]
    )


def _distances(a: Tensor, b: Tensor) -> Tensor:
    r"""Distances by differences: those of bits and levels are often equal, and stay so."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _radius(distances: Tensor, k: int) -> Tensor:
    r"""The distance of each row to its k-th neighbour; it is its own at no distance."""
    return distances.topk(k + 1, largest=False).values[:, k]


class Copying(NamedTuple):
    r"""How close samples are to the training data, beside test data, which are not copies.

    Attributes:
        nearer: How often a sample is closer to its nearest training datum than a test datum is
            to its own, ties by half: 1/2 for the law of the data; above for a model that has
            stored them. Samples that are far from all data hide copies in this mean.
        p_value: Of at most 1/2, one-sided, by the test of Mann and Whitney.
        samples: The mean distance of samples, in the units of the data.
        test: That of test data.
        copies: The share of samples that are equal to a training datum.
        test_copies: The share of test data that are.
    """

    nearer: Mean
    p_value: float
    samples: Mean
    test: Mean
    copies: Mean
    test_copies: Mean


def copying(samples: Tensor, test: Tensor, train: Tensor) -> Copying:
    r"""Asks whether samples are copies of training data.

    References:
        | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri &
        | Dasgupta, 2020), Sec. 3.1
        | https://arxiv.org/abs/2004.05675

    Arguments:
        samples: Independent draws of a model, of shape `(M, dim)`.
        test: Data that it has not seen, of shape `(N, dim)`.
        train: The data that it was trained on.
    """
    from scipy.stats import mannwhitneyu

    rows, others, known = vectors(samples=samples, test=test, train=train)
    s, t = nearest(rows, known), nearest(others, known)
    nearer = auroc(s, t)
    return Copying(
        Mean(nearer, nearer.se, "of the pairs"),
        float(mannwhitneyu(s.numpy(), t.numpy(), alternative="less").pvalue),
        Mean.of(s, "of distance"),
        Mean.of(t, "of distance"),
        Mean.of((s == 0).double(), "of the samples"),
        Mean.of((t == 0).double(), "of the data"),
    )


def nearest(rows: Tensor, train: Tensor) -> Tensor:
    r"""Returns the distance of each row to the nearest training datum, of shape `(N,)`.

    The neighbour is found by matrix products, whose rounding is that of squares, so that they are
    of differences from the median; its distance is that of the difference, which is zero for
    copies.
    """
    x, y = vectors(rows=rows, train=train)
    origin = y.median(0).values
    centred = y - origin
    squares = centred.square().sum(1)
    found = []
    for part in x.split(max(1, ROWS_AT_ONCE // len(y))):
        index = (squares - 2 * (part - origin) @ centred.T).argmin(1)
        found.append((part - y[index]).norm(dim=1))
    return torch.cat(found)
