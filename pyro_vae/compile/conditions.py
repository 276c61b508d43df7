r"""Comparisons of what stands at many places in Python with what stood there before."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import getitem, is_, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

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
    r"""One Python expression of many comparisons: the cheapest way to look at many places.

    Numbers and names of one dictionary are compared at once, as a tuple; objects of a dictionary
    by tensors, whose hash is slow, all its values at once.
    """

    def __init__(self, places: Iterable[tuple[Place, Any]] = ()) -> None:
        self.terms: list[str] = []
        self.names: dict[str, Any] = {}
        simple: dict[int, dict[str, tuple[Place, Any]]] = {}
        objects: dict[int, dict[int, tuple[Place, Any]]] = {}
        for where, value in places:
            if type(where.holder) is dict and type(where.name) is str and is_simple(value):
                simple.setdefault(id(where.holder), {})[where.name] = (where, value)
            elif isinstance(where.holder, dict) and isinstance(where.name, Tensor):
                objects.setdefault(id(where.holder), {})[id(where.name)] = (where, value)
            else:
                self.add(where, value)
        for few in simple.values():
            self.add_simple([*few.values()])
        for some in objects.values():
            self.add_objects([*some.values()])

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
        either = f"({now} is {want} or {now} == {want})"
        self.terms.append(either if is_simple(value) else f"{now} is {want}")

    def add_simple(self, places: Sequence[tuple[Place, Any]]) -> None:
        r"""Adds simple values of one dictionary; a tuple compares identities first, too."""
        if len(places) == 1:
            return self.add(*places[0])
        read = self.name(itemgetter(*(where.name for where, _ in places)))
        want = self.name(tuple(value for _, value in places))
        self.terms.append(f"{read}({self.name(places[0][0].holder)}) == {want}")

    def add_objects(self, places: Sequence[tuple[Place, Any]]) -> None:
        r"""Adds the values of one dictionary by tensors."""
        holder = places[0][0].holder
        if len(places) < max(4, len(holder)):  # others may change, or are as quickly seen
            for where, value in places:
                self.add(where, value)
            return
        wanted = {id(where.name): value for where, value in places}
        want = self.name([wanted[id(key)] for key in holder])
        self.names |= {"all": all, "map": map, "is_": is_}
        self.terms.append(f"all(map(is_, {self.name(holder)}.values(), {want}))")

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


def is_simple(value: Any) -> bool:
    r"""Tells whether a value is compared by what it is, not by identity."""
    return isinstance(value, (*SIMPLE, tuple)) and not is_deep(value)


def is_deep(value: Any) -> bool:
    return isinstance(value, tuple) and not all(isinstance(v, SIMPLE) for v in value)
