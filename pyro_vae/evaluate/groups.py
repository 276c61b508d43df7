r"""Which setting is better? Groups of models that differ in their seed, over the same data."""

from collections.abc import Mapping
from math import inf, isnan, nan, sqrt
from typing import Any, NamedTuple

from torch import Tensor

from ..statistics import Mean
from .comparison import _two_sided


class Spread(NamedTuple):
    r"""The mean over seeds and data, and what each of the two leaves unknown.

    Attributes:
        mean: The mean with the error from both.
        seeds: The part of the error from seeds, NaN of one seed.
        data: The part of the error from data.
        freedom: The degrees of freedom of the whole error.
    """

    mean: Mean
    seeds: float
    data: float
    freedom: float


class GroupComparison(NamedTuple):
    r"""How much more likely models of setting B make the data than those of setting A.

    Attributes:
        difference: The mean of :math:`\log p_B(x) - \log p_A(x)` over seeds and data, in nats per
            datum, with the error from both.
        seeds: The part of the error from seeds.
        data: The part of the error from data, which are the same for both.
        p_value: Of no difference, two-sided.
        num_seeds: The number of models of A and of B.
        num_data: The number of data.
    """

    difference: Mean
    seeds: float
    data: float
    p_value: float
    num_seeds: tuple[int, int]
    num_data: int

    def record(self) -> dict[str, Any]:
        r"""Returns the result as JSON values."""
        names = {"se_seeds": self.seeds, "se_data": self.data}
        return {
            **self.difference.record("difference"),
            **names,
            "p_value": self.p_value,
            "num_seeds": list(self.num_seeds),
            "num_data": self.num_data,
        }

    def sentence(self, a: str = "A", b: str = "B") -> str:
        r"""Says which beats which by how much."""
        few = min(self.num_seeds)
        over = f"over {few} seed{'s' if few > 1 else ''} and {self.num_data} data"
        value, error = float(self.difference), self.difference.error
        if self.p_value > 0.01:
            text = f"No difference is seen between {a} and {b}: {value:+.3f} {error}"
        else:
            better, worse = (b, a) if value > 0 else (a, b)
            text = f"{better} beats {worse} by {abs(value):.3f} {error}"
        text = f"{text} nats per datum {over}."
        return text if few > 1 else f"{text} One seed says nothing about others."


def compare_groups(a: Tensor, b: Tensor) -> GroupComparison:
    r"""Compares two groups of models, whose seeds are independent, on the same data.

    With :math:`d_{sn}` the difference of seed `s` on datum `n`, the error of its mean has two
    sources, as in a layout of two ways with random effects of both:

    .. math:: \mathrm{se}^2 = \frac{s_{A}^2}{S_A} + \frac{s_{B}^2}{S_B} + \frac{s_N^2}{N} - r

    with :math:`s_A`, :math:`s_B` the standard deviations of the means of the models over seeds,
    :math:`s_N` that of :math:`\bar d_{\cdot n}` over data, and `r` what seed and datum together
    make, which both contain.

    References:
        | Variance Components (Searle, Casella & McCulloch, 1992), Ch. 4

    Arguments:
        a: :math:`\log p_A(x)` in nats, of shape `(S_A, N)`: a row for each seed.
        b: :math:`\log p_B(x)` of the same data, of shape `(S_B, N)`.

    Raises:
        ValueError: The numbers are not about as many data, or some of them are not finite.
    """
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or a.shape[1] < 2:
        raise ValueError(
            "Expected log p(x) of the same two or more data, a row for each seed; got shapes "
            f"{list(a.shape)} and {list(b.shape)}."
        )
    for name, values in (("A", a), ("B", b)):
        if not values.isfinite().all():
            raise ValueError(f"Expected finite numbers; got some of {name} that are not.")
    a, b = a.double(), b.double()
    found = spread(b.mean(0) - a.mean(0), [a, b])
    se = found.mean.se
    t = abs(found.mean) / se if se else (0.0 if found.mean == 0 else inf)
    p = _two_sided(t, found.freedom)
    sizes = len(a), len(b)
    return GroupComparison(found.mean, found.seeds, found.data, p, sizes, a.shape[1])


def spread(means: Tensor, groups: list[Tensor]) -> Spread:
    r"""Returns the mean over data, with the error from data and from the seeds of each group.

    Arguments:
        means: What is averaged, for each datum: a mean or a difference of means over seeds.
        groups: The values of each group of models, of shape `(S, N)`.
    """
    count = len(means)
    data = float(means.var()) / count
    parts, joint = [], 0.0
    for values in groups:
        size = len(values)
        if size < 2:
            continue
        rest = values - values.mean(0) - values.mean(1, keepdim=True) + values.mean()
        joint += float(rest.square().sum()) / ((size - 1) * (count - 1)) / (size * count)
        parts.append((float(values.mean(1).var()) / size, size - 1))
    seeds = sum(variance for variance, _ in parts)
    whole = max(seeds + data - joint, seeds, data)
    terms = [*parts, (data, count - 1)]
    below = sum(variance**2 / freedom for variance, freedom in terms)
    freedom = whole**2 / below if below else count - 1.0
    mean = Mean(float(means.mean()), sqrt(whole))
    return Spread(mean, sqrt(seeds) if parts else nan, sqrt(data), freedom)


def rank(groups: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    r"""Ranks settings by :math:`\log p(x)`, with the differences to the best.

    Arguments:
        groups: :math:`\log p(x)` under each setting, of shape `(S, N)`: a row for each seed.

    Returns:
        A row for each setting, the best first.
    """
    rows: list[dict[str, Any]] = []
    for name, values in groups.items():
        found = spread(values.double().mean(0), [values.double()])
        rows.append(
            {
                "setting": name,
                **found.mean.record("log_marginal"),
                "se_seeds": None if isnan(found.seeds) else found.seeds,
                "se_data": found.data,
                "num_seeds": len(values),
                "seeds": values.double().mean(1).tolist(),
            }
        )
    rows.sort(key=lambda row: -row["log_marginal"])
    for row in rows[1:]:
        comparison = compare_groups(groups[rows[0]["setting"]], groups[row["setting"]])
        row["to_best"] = comparison.record()
    return rows
