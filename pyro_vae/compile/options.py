r"""The options of optimizers as tensors: the learning rate, and what is seen to change."""

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor

from .optimizers import Group, OptimizedParameter

HOW = ("foreach", "fused", "capturable", "differentiable")  # options that change no number


class Options:
    r"""Keeps the optimizers' options as tensors: the learning rate, and what is seen to change.

    An option is a number in the graph until it changes; from then on it is a tensor, so that a
    cycle of learning rate and momentum needs no further graph.

    Arguments:
        parameters: The parameters.
        device: Where the tensors are.
    """

    def __init__(self, parameters: Sequence[OptimizedParameter], device: torch.device) -> None:
        found = {id(item.group): item for item in parameters if item.update is not None}
        self.members = list(found.values())
        self.bind()
        self.names = [
            tuple(n for n in item.optimizer.defaults if n in item.group and n not in HOW)
            for item in found.values()
        ]
        self.last = self.now()
        self.changing: list[str] = ["lr"]
        self.device = device
        self.make_table()

    def bind(self) -> None:
        r"""Takes the options that the optimizers have now."""
        self.__dict__.pop("unchanged", None)
        self.members = [member.now() for member in self.members]
        self.groups = [member.group for member in self.members]
        self.row = {id(group): i for i, group in enumerate(self.groups)}
        self.decaying = [group for group in self.groups if "lrd" in group]

    def now(self) -> list[tuple]:
        r"""Returns the options of each group."""
        return [itemgetter(*names)(group) for names, group in zip(self.names, self.groups)]

    @cached_property
    def unchanged(self) -> Callable[[list[tuple]], bool]:
        r"""Compares the options with those that they were, in one expression."""
        names: dict[str, Any] = {}
        for i, (options, group) in enumerate(zip(self.names, self.groups)):
            names |= {f"read{i}": itemgetter(*options), f"group{i}": group}
        terms = [f"read{i}(group{i}) == last[{i}]" for i in range(len(self.groups))]
        return eval(f"lambda last: {' and '.join(terms) or True}", names)

    def make_table(self) -> None:
        self.table = torch.zeros(
            len(self.groups), 2 * len(self.changing), dtype=torch.float64, device=self.device
        )
        self.fill()

    def fill(self) -> None:
        r"""Writes the options into the table."""
        rows = [[x for n in self.changing for x in _pair(g.get(n, 0.0))] for g in self.groups]
        if rows:
            self.table.copy_(torch.tensor(rows, dtype=torch.float64))

    def of(self, group: dict[str, Any]) -> Group:
        r"""Returns a group's options, those that change as tensors."""
        row = self.row.get(id(group))
        if row is None:
            return group
        now = {}
        for i, name in enumerate(self.changing):
            first, second = self.table[row, 2 * i], self.table[row, 2 * i + 1]
            now[name] = (first, second) if isinstance(group.get(name), tuple | list) else first
        return {**group, **now}

    def changed(self, parameter_groups: Sequence[Any]) -> bool:
        r"""Notes options that have changed; returns whether parameters must be grouped again."""
        if self.last and self.unchanged(self.last):
            return False
        now = self.now()
        if not self.last:  # parameters are to be grouped anew for another reason
            self.last = now
            self.fill()
            return bool(now)
        changed = {
            name
            for names, old, new in zip(self.names, self.last, now)
            for name, a, b in zip(names, old, new)
            if a != b
        }
        self.last = now
        new = [name for name in sorted(changed) if name not in self.changing]
        self.changing += [n for n in new if all(map(_is_number, (g.get(n) for g in self.groups)))]
        if new:
            self.make_table()
            return True
        self.fill()
        rows = {id(group): row for group, row in zip(self.groups, now)}
        return any(len({str(rows[id(m.group)]) for m in b.members}) > 1 for b in parameter_groups)

    def decay(self) -> list[float]:
        r"""Lowers the learning rates that lower themselves, as Pyro's ClippedAdam does."""
        before = self.rates()
        self.set_rates([group["lr"] * group["lrd"] for group in self.decaying])
        return before

    def rates(self) -> list[float]:
        return [group["lr"] for group in self.decaying]

    def set_rates(self, rates: Sequence[float]) -> None:
        r"""Sets the learning rates that lower themselves."""
        for group, rate in zip(self.decaying, rates):
            group["lr"] = rate
        if self.decaying:
            self.last = self.now()
            self.fill()


def _pair(option: Any) -> tuple[float, float]:
    if isinstance(option, tuple | list):
        return float(option[0]), float(option[1])
    return (float(option), 0.0) if _is_number(option) else (0.0, 0.0)


def _is_number(option: Any) -> bool:
    if isinstance(option, tuple | list):
        return len(option) == 2 and all(map(_is_number, option))
    return isinstance(option, int | float | Tensor) and not isinstance(option, bool)
