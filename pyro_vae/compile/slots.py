r"""Parameters, the optimizers that move them, and their moves in the graph."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer

from .updates import UPDATES, State, Update

SMALL = 100_000  # elements; below, one loop over all of them is faster than many, copies included


class Slot(NamedTuple):
    r"""A parameter, the optimizer that moves it, and how its own gradient is clipped."""

    parameter: Tensor
    optimizer: Optimizer
    group: dict[str, Any]
    clip_norm: float | None = None
    clip_value: float | None = None

    @property
    def update(self) -> Update | None:
        r"""The optimizer's update as a function of tensors, if there is one."""
        update = UPDATES.get(type(self.optimizer))
        return None if update is None or update.unsupported(self.group) else update

    @property
    def kind(self) -> tuple:
        r"""What slots must have in common to be moved together."""
        options = {k: v for k, v in self.group.items() if k not in ("params", "initial_lr")}
        p = self.parameter
        state = self.optimizer.state.get(p) or {}  # none where there was never a gradient
        steps = float(state.get("step", 0))
        return type(self.optimizer), str(sorted(options.items())), bool(state), steps, p.dtype

    def clip(self, gradient: Tensor) -> Tensor:
        r"""Shortens the parameter's own gradient."""
        if self.clip_norm is not None:
            gradient = gradient * shorten(gradient.square().sum().sqrt(), self.clip_norm)
        if self.clip_value is not None:
            gradient = gradient.clamp(-self.clip_value, self.clip_value)
        return gradient


class Bunch:
    r"""Creates slots of one kind, which are moved together.

    Their optimizer's state lies in one tensor for each of its names, and in the optimizer's
    ``state`` as views of it; a bunch of one keeps the optimizer's own tensors.

    Arguments:
        slots: The slots.
        update: Their update.
    """

    def __init__(self, slots: Sequence[Slot], update: Update) -> None:
        self.slots, self.update, self.group = slots, update, slots[0].group
        self.sizes = [slot.parameter.numel() for slot in slots]
        self.state: State = {}
        self.views: list[tuple[Slot, str, Tensor]] = []
        for name in update.buffers(self.group):
            old = [slot.optimizer.state[slot.parameter].get(name) for slot in slots]
            if name == "step":
                parts = [_scalar(value, slot.parameter) for value, slot in zip(old, slots)]
            else:
                parts = [
                    (torch.zeros_like(slot.parameter) if value is None else value).flatten()
                    for value, slot in zip(old, slots)
                ]
            whole = self.state[name] = torch.cat(parts)
            sizes = [1] * len(slots) if name == "step" else self.sizes
            for slot, view in zip(slots, whole.split(sizes)):
                shape = () if name == "step" else slot.parameter.shape
                self.views.append((slot, name, view.view(shape)))
        self.adopt()

    def adopt(self) -> None:
        r"""Makes the optimizers' state views of this one, with the values that they have."""
        for slot, name, view in self.views:
            state = slot.optimizer.state[slot.parameter]
            value = state.get(name)
            if value is not view:
                if value is not None:
                    view.copy_(torch.as_tensor(value))
                state[name] = view

    def is_adopted(self) -> bool:
        r"""Tells whether the optimizers still hold this state; loading another ends that."""
        if not self.views:
            return True
        slot, name, view = self.views[-1]
        return slot.optimizer.state[slot.parameter].get(name) is view

    def release(self) -> None:
        r"""Gives each optimizer a state of its own."""
        for slot, name, view in self.views:
            slot.optimizer.state[slot.parameter][name] = view.clone()

    def move(self, gradients: Sequence[Tensor], lr: Tensor, finite: Tensor) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        old = dict(self.state)
        if "step" in old:
            old["step"] = old["step"][0]
        p = torch.cat([slot.parameter.flatten() for slot in self.slots])
        gradient = torch.cat([g.flatten() for g in gradients])
        value, new = self.update.apply(p, gradient, old, self.group, lr)
        value = torch.where(finite, value, p)
        for slot, part in zip(self.slots, value.split(self.sizes)):
            slot.parameter.copy_(part.view(slot.parameter.shape))
        for name, state in new.items():
            self.state[name].copy_(torch.where(finite, state, old[name]))


def slots_of(optimizer: PyroOptim | Optimizer, parameters: Sequence[Tensor] = ()) -> list[Slot]:
    r"""Returns parameters with the optimizers that move them.

    Arguments:
        optimizer: An optimizer of :mod:`torch.optim`, all of whose parameters are taken, or one of
            :mod:`pyro.optim` that has met the `parameters`.
        parameters: Those that are wanted.
    """
    if isinstance(optimizer, Optimizer):
        return [
            Slot(p, optimizer, group) for group in optimizer.param_groups for p in group["params"]
        ]
    slots = []
    for p in parameters:
        own = optimizer.optim_objs[p]
        own = getattr(own, "optimizer", own)  # a schedule's
        clip = optimizer._get_grad_clip_args(p) or {}
        slots.append(
            Slot(p, own, own.param_groups[0], clip.get("clip_norm"), clip.get("clip_value"))
        )
    return slots


def bunches(slots: Sequence[Slot], *, together: bool) -> list[Bunch]:
    r"""Sorts the slots whose update can be in a graph into bunches."""
    kinds: dict[Any, list[Slot]] = {}
    small = together and sum(slot.parameter.numel() for slot in slots) < SMALL
    for slot in slots:
        if slot.update is not None:
            kinds.setdefault(slot.kind if small else id(slot.parameter), []).append(slot)
    return [Bunch(same, same[0].update) for same in kinds.values() if same[0].update]


def shorten(norm: Tensor, limit: float) -> Tensor:
    r"""Returns the factor that shortens a gradient of a norm to a limit."""
    return (limit / (norm + 1e-6)).clamp(max=1)


def _scalar(value: Any, p: Tensor) -> Tensor:
    return torch.as_tensor(value or 0, dtype=torch.float32, device=p.device).reshape(1)
