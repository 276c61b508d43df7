r"""The space of a search: a range or choices for each setting."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import exp, isfinite, log
from random import Random
from typing import Any, NamedTuple

from .grid import read_values, refuse_seed

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"\s*({NUMBER})\s*\.\.\s*({NUMBER})(\s+log)?\s*")
WHOLE = re.compile(r"[+-]?\d+")
PROBES = 50  # completions with which a value is tried before a search


class Range(NamedTuple):
    r"""Numbers from `low` to `high`, both included: whole ones if both ends are whole.

    Attributes:
        low: The lower end.
        high: The upper end.
        log: Whether the logarithm is uniform, not the number.
    """

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low}..{self.high}{' log' * self.log}"

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def probes(self) -> list[float]:
        r"""Both ends, and a number between them."""
        if self.log:
            inside = exp(log(self.low) + 0.618 * (log(self.high) - log(self.low)))
        else:
            inside = self.low + 0.618 * (self.high - self.low)
        return [self.low, round(inside) if self.is_whole else inside, self.high]


Space = dict[str, Range | list[Any]]
r"""A range or a list of choices for each setting, by dotted key."""


def as_json(space: Space) -> dict[str, Any]:
    r"""Returns a space as JSON values, ranges as they are written."""
    return {k: str(part) if isinstance(part, Range) else part for k, part in space.items()}


def read_space(search: Mapping[str, Any]) -> Space:
    r"""Reads what is searched.

    Arguments:
        search: For each setting, by dotted key: a text such as ``"1e-4..1e-2 log"``, ``"2..32"``
            or ``"standard-normal,vamp"``; a :class:`Range`; or a list of choices.

    Raises:
        ValueError: A range is empty or not positive on a logarithmic scale, a choice comes twice,
            or the setting is a seed or one of the data.

    Example:
        >>> space = read_space({"train.lr": "1e-4..1e-2 log", "prior.kind": "normal,vamp"})
        >>> str(space["train.lr"]), space["prior.kind"]
        ('0.0001..0.01 log', ['normal', 'vamp'])
    """
    if not search:
        raise ValueError("Expected one or more settings to search; got none.")
    space: Space = {}
    for given, values in search.items():
        key = given.replace("-", "_")
        refuse_seed(key, "search")
        if key.split(".")[0] == "data":
            raise ValueError(
                f"Expected settings of the model and its training to search; got {key}. ELBOs of "
                "other data cannot be compared."
            )
        space[key] = _range(key, values) or _choices(key, values)
    return space


def probes(space: Space) -> Iterator[tuple[str, Any, list[dict[str, Any]]]]:
    r"""Yields each choice and three numbers of each range, with combinations that contain it.

    At least one of the combinations has to be valid, for some go only with certain others.
    """
    draw = Random(0)
    tries = {k: v.probes() if isinstance(v, Range) else v for k, v in space.items()}
    for key, values in tries.items():
        for value in values:
            some = [{k: draw.choice(v) for k, v in tries.items()} for _ in range(PROBES)]
            unique = {json.dumps(one, default=str): {**one, key: value} for one in some}
            yield key, value, [*unique.values()]


def _range(key: str, values: Any) -> Range | None:
    r"""The range, if it is one."""
    if isinstance(values, str):
        match = RANGE.fullmatch(values)
        if match is None:
            if ".." in values or re.search(r"\slog\s*$", values):
                raise ValueError(
                    f"Expected a range such as 1e-4..1e-2 log or 2..32 for {key}; got "
                    f"{values.strip()!r}."
                )
            return None
        ends = [int(t) if WHOLE.fullmatch(t) else float(t) for t in match.groups()[:2]]
        if not all(map(isinstance, ends, (int, int))):
            ends = [float(end) for end in ends]
        values = Range(ends[0], ends[1], match[3] is not None)
    if not isinstance(values, Range):
        return None
    if not (isfinite(values.low) and isfinite(values.high) and values.low < values.high):
        raise ValueError(
            f"Expected a range from a number to a larger one for {key}; got {values}."
        )
    if values.log and values.low <= 0:
        raise ValueError(f"Expected a range above 0 for {key}, as it is log; got {values}.")
    return values


def _choices(key: str, values: Any) -> list[Any]:
    r"""The choices."""
    values = read_values(values) if isinstance(values, str) else values
    if not isinstance(values, Sequence) or not values:
        raise ValueError(f"Expected a range or a list of choices for {key}; got {values!r}.")
    if len({json.dumps(value, default=str) for value in values}) < len(values):
        raise ValueError(f"Expected each choice of {key} once; got one twice.")
    return [*values]
