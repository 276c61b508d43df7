r"""Supports: one that PyTorch lacks, how two compare, what they are called."""

from collections.abc import Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints, transform_to
from torch.distributions.constraints import Constraint

from ..deprecation import renamed


class _OpenUnitInterval(type(constraints.unit_interval)):  # type: ignore[misc]
    r"""Numbers strictly between 0 and 1."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


open_unit_interval = _OpenUnitInterval(0.0, 1.0)


class Between(Constraint):
    r"""Numbers from a lower to an upper limit, both included.

    Arguments:
        lower: The lower limit, or none.
        upper: The upper limit, or none.
    """

    def __init__(self, lower: float | None = None, upper: float | None = None) -> None:
        self.lower_bound = -inf if lower is None else lower
        self.upper_bound = inf if upper is None else upper
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.lower_bound) & (value <= self.upper_bound)


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

    def at(self, column: int) -> Constraint:
        r"""The support of a column."""
        return next(s for s, columns in zip(self.supports, self.columns) if column in columns)

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
    if same(inner, outer):
        return True
    small, large = _ends(inner), _ends(outer)
    if small is None or large is None or inner.is_discrete != outer.is_discrete:
        return False
    return bool(((small[0] >= large[0]) & (small[1] <= large[1])).all())


def _ends(support: Constraint) -> tuple[Tensor, Tensor] | None:
    r"""Lowest and highest value of the numbers on a support, or None if it is no interval."""
    if same(support, constraints.boolean):
        ends: tuple[Any, Any] = (0.0, 1.0)
    elif same(support, constraints.real):
        ends = (-inf, inf)
    elif hasattr(support, "lower_bound") or hasattr(support, "upper_bound"):
        ends = (getattr(support, "lower_bound", -inf), getattr(support, "upper_bound", inf))
    else:
        return None
    low, high = (torch.as_tensor(end, device="cpu") for end in ends)
    return low, high


def elementwise(support: Any) -> Any:
    r"""The support of one element, where elements have one."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def any_value(support: Any, like: Tensor) -> Tensor:
    r"""Some value of the support of single elements, of the type and on the device of `like`: for
    places whose density nobody uses."""
    support = elementwise(support)
    if support.is_discrete:
        return like.new_full((), float(getattr(support, "lower_bound", 0.0)))
    if isinstance(support, Between):
        return like.new_full((), min(max(0.0, support.lower_bound), support.upper_bound))
    return transform_to(support)(like.new_zeros(()))


def support_of(family: Any, law: Any) -> Constraint:
    r"""The support of the elements of a family's distribution, held against what it declares.

    A family that declares none, and so is on the real numbers by default, has that of its
    distribution. A relaxed family stands for a discrete one and keeps what it declares.

    Arguments:
        family: A prior, likelihood or posterior.
        law: A distribution that it returned.

    Raises:
        ValueError: It declares another support than its distribution has.
    """
    declared = family.support
    try:
        found = elementwise(law.support)
    except (NotImplementedError, AttributeError):
        return declared
    relaxed = any("temperature" in name for name, _ in family.named_buffers())
    point = type(law).__name__ == "Delta"
    if point or relaxed or same(found, elementwise(declared)):
        return declared
    if inside(found, declared) and inside(declared, found):
        return declared
    if same(declared, constraints.real):
        return found
    raise ValueError(
        f"Expected {type(family).__name__} to return a distribution on what it declares, "
        f"{describe_support(declared)}; got {type(law).__name__} on "
        f"{describe_support(found)}. Set its class attribute support to that of its distribution."
    )


def describe_support(support: Any) -> str:
    r"""Says in words what a support is.

    Example:
        >>> describe_support(constraints.integer_interval(0, 16))
        '{0, ..., 16}'
    """
    support = elementwise(support)
    names: list[tuple[Constraint, str]] = [
        (constraints.boolean, "{0, 1}"),
        (constraints.unit_interval, "[0, 1]"),
        (open_unit_interval, "(0, 1)"),
        (constraints.real, "the real numbers"),
        (constraints.positive, "the positive numbers"),
        (constraints.nonnegative, "the numbers from 0"),
        (constraints.nonnegative_integer, "{0, 1, 2, ...}"),
        (constraints.half_open_interval(0.0, 1.0), "[0, 1)"),
    ]
    for known, name in names:
        if same(support, known):
            return name
    if hasattr(support, "num_categories"):
        return "one-hot blocks"
    if hasattr(support, "codebook"):
        return "code vectors"
    if isinstance(support, ByColumn):
        return " or ".join(dict.fromkeys(describe_support(part) for part in support.supports))
    if support.is_discrete and hasattr(support, "upper_bound"):
        return f"{{{getattr(support, 'lower_bound', 0)}, ..., {support.upper_bound}}}"
    if not support.is_discrete and _ends(support) is not None:
        ends = _ends(support)
        low, high = (float(end) for end in (ends[0].min(), ends[1].max()))  # type: ignore[index]
        if -inf in (low, high) or inf in (low, high):
            return f"the numbers from {low:g}" if high == inf else f"the numbers up to {high:g}"
        return f"[{low:g}, {high:g}]"
    return "the unit sphere" if "Sphere" in type(support).__name__ else str(support)


__getattr__ = renamed(__name__, {"describe": "describe_support"})
