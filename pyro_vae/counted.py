r"""How many: numbers of samples, components, features are whole and at least one.  (layer 0)"""

import operator
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def counted(function: Callable[P, R]) -> Callable[P, R]:
    r"""Refuses calls of `function` whose `latent_dim` or `num_...` is no whole number above zero.

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

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = known.bind(*args, **kwargs).arguments
        except TypeError:  # the call itself says it better
            given = {}
        for name, value in given.items():
            if value is None or not (name == "latent_dim" or name.startswith("num_")):
                continue
            try:
                good = operator.index(value) >= 1 and not isinstance(value, bool)
            except TypeError:
                good = False
            if not good:
                raise ValueError(
                    f"Expected {name} as a whole number of at least 1; got {value!r}."
                )
        return function(*args, **kwargs)

    return checked
