r"""Checks of arguments: sizes are whole, at least one; scales positive; choices known."""

import operator
from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import inf
from types import NoneType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin

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


def choices_of(annotation: Any) -> tuple[Any, ...]:
    r"""Returns the values of a `Literal`, with None if that is allowed; else nothing."""
    parts = [annotation] if get_origin(annotation) is Literal else [*get_args(annotation)]
    if not parts or any(get_origin(p) is not Literal and p is not NoneType for p in parts):
        return ()
    return tuple(c for p in parts for c in ((None,) if p is NoneType else get_args(p)))


def counted(function: Callable[P, R]) -> Callable[P, R]:
    r"""Refuses calls of `function` with a size that is not a whole number above zero, with a
    scale that is not positive, or with none of the choices that a `Literal` gives.

    Example:
        >>> @counted
        ... def draw(num_samples=1):
        ...     return num_samples
        >>> draw(0)
        Traceback (most recent call last):
            ...
        ValueError: Expected num_samples as a whole number of at least 1; got 0.
        >>> @counted
        ... def draw(kind: Literal["mean", "sample"] = "mean"):
        ...     return kind
        >>> draw("median")
        Traceback (most recent call last):
            ...
        ValueError: Expected kind 'mean' or 'sample'; got 'median'.
    """
    known = signature(function)
    rules = {name: rule_of(p.annotation) for name, p in known.parameters.items()}
    sizes = [n for n in rules if n == "latent_dim" or n.startswith("num_") or rules[n] == "size"]
    scales = [n for n in rules if rules[n] == "positive"]
    choices = {
        n: found for n, p in known.parameters.items() if (found := choices_of(p.annotation))
    }

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
        for name, known_ones in choices.items():
            if name in given and given[name] not in known_ones:
                *most, last = map(repr, known_ones)
                said = f"{', '.join(most)} or {last}" if most else last
                raise ValueError(f"Expected {name} {said}; got {given[name]!r}.")
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
