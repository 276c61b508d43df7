r"""Supports: one that PyTorch lacks, how two compare, what they are called."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


class _OpenUnitInterval(type(constraints.unit_interval)):  # type: ignore[misc]
    r"""Numbers strictly between 0 and 1."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


open_unit_interval = _OpenUnitInterval(0.0, 1.0)


class ByColumn(Constraint):
    r"""Supports of the elements of vectors, group by group.

    Arguments:
        supports: The support of each group.
        columns: The columns of each group.
    """

    def __init__(self, supports: Sequence[Constraint], columns: Sequence[Sequence[int]]) -> None:
        self.supports, self.columns = supports, columns
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return all(support.is_discrete for support in self.supports)

    def check(self, value: Tensor) -> Tensor:
        good = torch.zeros_like(value, dtype=torch.bool)
        for support, columns in zip(self.supports, self.columns):
            good[..., columns] = support.check(value[..., columns])
        return good


def same(a: Constraint, b: Constraint) -> bool:
    r"""Whether two supports are one, also after a deepcopy of one of them."""
    return a is b or (type(a) is type(b) and repr(vars(a)) == repr(vars(b)))


def inside(inner: Constraint, outer: Constraint) -> bool:
    r"""Whether a density on `outer` is one for variables on `inner`.

    Bits lie among the real numbers, but a density gives them no mass.

    Example:
        >>> inside(constraints.unit_interval, constraints.real)
        True
        >>> inside(constraints.boolean, constraints.real)
        False
    """
    intervals = (constraints.unit_interval, constraints.positive, constraints.nonnegative)
    return same(inner, outer) or (
        same(outer, constraints.real) and any(same(inner, c) for c in intervals)
    )


def describe(support: Constraint) -> str:
    r"""Says what a support is.

    Example:
        >>> describe(constraints.integer_interval(0, 16))
        '{0, ..., 16}'
    """
    names: list[tuple[Constraint, str]] = [
        (constraints.boolean, "{0, 1}"),
        (constraints.unit_interval, "[0, 1]"),
        (open_unit_interval, "(0, 1)"),
        (constraints.real, "the real numbers"),
        (constraints.nonnegative_integer, "{0, 1, 2, ...}"),
    ]
    for known, name in names:
        if same(support, known):
            return name
    if hasattr(support, "num_categories"):
        return "one-hot blocks"
    if isinstance(support, ByColumn):
        return " or ".join(dict.fromkeys(describe(part) for part in support.supports))
    if support.is_discrete and hasattr(support, "upper_bound"):
        return f"{{{getattr(support, 'lower_bound', 0)}, ..., {support.upper_bound}}}"
    return "the unit sphere" if "Sphere" in type(support).__name__ else str(support)
