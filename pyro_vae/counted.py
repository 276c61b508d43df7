r"""Checks of arguments: sizes are whole and at least one, scales are positive."""

import operator
from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import inf
from typing import Annotated, Any, ParamSpec, TypeVar, get_args

P = ParamSpec("P")
R = TypeVar("R")

Positive = Annotated[float, "positive"]
r"""A finite number above zero."""

Size = Annotated[int, "size"]
r"""A whole number of at least 1; arguments called `latent_dim` or `num_...` are sizes as well."""


def rule_of(annotation: Any) -> str:
    r"""Returns ``"positive"``, ``"size"`` or ``""``; the annotation may also allow None."""
    for part in (annotation, *get_args(annotation)):
        if rules := getattr(part, "__metadata__", ()):
            return str(rules[0])
    return ""


def counted(function: Callable[P, R]) -> Callable[P, R]:
    r"""Refuses calls of `function` with a size that is not a whole number above zero, or with a
    scale that is not positive.

    Example:
        >>> @counted
        ... def draw(num_samples=1):
        ...     return num_samples
        >>> draw(0)
        Traceback (most recent call last):
            ...
        ValueError: Expected num_samples as a whole number of at least 1; got 0.
    """
    known = signature(function)
    rules = {name: rule_of(p.annotation) for name, p in known.parameters.items()}
    sizes = [n for n in rules if n == "latent_dim" or n.startswith("num_") or rules[n] == "size"]
    scales = [n for n in rules if rules[n] == "positive"]

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = known.bind(*args, **kwargs).arguments
        except TypeError:  # the call itself raises a better message
            given = {}
        for name in sizes:
            if given.get(name) is not None and not _is_size(given[name]):
                got = given[name]
                raise ValueError(f"Expected {name} as a whole number of at least 1; got {got!r}.")
        for name in scales:
            if given.get(name) is not None and not _is_positive(given[name]):
                raise ValueError(f"Expected {name} as a positive number; got {given[name]!r}.")
        return function(*args, **kwargs)

    return checked


def _is_size(value: Any) -> bool:
    try:
        return operator.index(value) >= 1 and not isinstance(value, bool)
    except TypeError:
        return False


def _is_positive(value: Any) -> bool:
    try:
        return 0 < float(value) < inf and not isinstance(value, bool)
    except (TypeError, ValueError):
        return False
