r"""Comparisons of what stands at many places in Python with what stood there before."""

from collections.abc import Callable, Iterable
from functools import cached_property
from operator import getitem
from typing import Any, NamedTuple

import torch

SIMPLE = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
MISSING = object()


class Place(NamedTuple):
    r"""Where a value stands: an item, or an attribute, of a holder."""

    read: Callable[[Any, Any], Any]
    holder: Any
    name: Any

    def get(self) -> Any:
        try:
            return self.read(self.holder, self.name)
        except Exception:
            return MISSING

    def put(self, value: Any) -> None:
        if self.read is getitem:
            self.holder[self.name] = value
        else:
            setattr(self.holder, self.name, value)


class Condition:
    r"""One Python expression of many comparisons: the cheapest way to look at many places."""

    def __init__(self, places: Iterable[tuple[Place, Any]] = ()) -> None:
        self.terms: list[str] = []
        self.names: dict[str, Any] = {}
        for where, value in places:
            self.add(where, value)

    def name(self, value: Any) -> str:
        name = f"v{len(self.names)}"
        self.names[name] = value
        return name

    def add(self, where: Place, value: Any) -> None:
        holder, want = self.name(where.holder), self.name(value)
        if where.read is length:
            self.terms.append(f"len({holder}) == {want}")
            return
        key = where.name if where.read is getattr else self.name(where.name)
        now = f"{holder}.{key}" if where.read is getattr else f"{holder}[{key}]"
        simple = isinstance(value, (*SIMPLE, tuple)) and not is_deep(value)
        self.terms.append(
            f"({now} is {want} or {now} == {want})" if simple else f"{now} is {want}"
        )

    @cached_property
    def check(self) -> Callable[[], bool]:
        r"""Tells whether all comparisons hold."""
        return eval("lambda: " + (" and ".join(self.terms) or "True"), self.names)

    def holds(self) -> bool:
        r"""Tells the same; also where something is no longer there, or cannot be compared."""
        try:
            return self.check()
        except Exception:
            return False


def length(holder: Any, name: Any) -> int:
    return len(holder)


def is_deep(value: Any) -> bool:
    return isinstance(value, tuple) and not all(isinstance(v, SIMPLE) for v in value)
