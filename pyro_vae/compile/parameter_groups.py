r"""Parameters of one kind, moved together: their optimizers' state in one tensor for each name."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .optimizers import Group, OptimizedParameter, State, Update
from .options import Options

SMALL = 100_000  # elements; below, one loop over all of them is faster than many, copies included,
# as it is for any number of them on a GPU, where each loop is a kernel


class ParameterGroup:
    r"""Creates a group of parameters of one kind, which are updated together.

    Their optimizer's state lies in one tensor for each of its names, and in the optimizer's
    ``state`` as views of it; a group of one keeps the optimizer's own tensors.

    Arguments:
        members: The parameters.
        update: Their update.
        options: The optimizers' options.
    """

    def __init__(
        self, members: Sequence[OptimizedParameter], update: Update, options: Options
    ) -> None:
        self.members, self.update, self.group = members, update, members[0].group
        self.sizes = [member.parameter.numel() for member in members]
        self.state: State = {}
        self.views: list[tuple[OptimizedParameter, str, Tensor]] = []
        for name in update.buffers(options.of(self.group)):
            old = [member.optimizer.state[member.parameter].get(name) for member in members]
            if name == "step":
                parts = [_scalar(value, member.parameter) for value, member in zip(old, members)]
            else:
                parts = [
                    (torch.zeros_like(member.parameter) if value is None else value).flatten()
                    for value, member in zip(old, members)
                ]
            self.state[name] = torch.cat(parts)
        self.place()

    def place(self) -> None:
        r"""Makes the views that the optimizers keep, of the memory that the state has now."""
        self.views = []
        for name, whole in self.state.items():
            sizes = [1] * len(self.members) if name == "step" else self.sizes
            for member, view in zip(self.members, whole.split(sizes)):
                shape = () if name == "step" else member.parameter.shape
                self.views.append((member, name, view.view(shape)))
        self.adopt()

    def adopt(self) -> None:
        r"""Makes the optimizers' state views of this one, with the values that they have."""
        for member, name, view in self.views:
            state = member.optimizer.state[member.parameter]
            value = state.get(name)
            if value is not view:
                view.copy_(torch.zeros_like(view) if value is None else torch.as_tensor(value))
                state[name] = view

    def bind(self) -> None:
        r"""Takes options and state that the optimizers have now."""
        self.members = [member.now() for member in self.members]
        self.views = [(member.now(), name, view) for member, name, view in self.views]
        self.group = self.members[0].group
        self.adopt()

    def release(self) -> None:
        r"""Gives each optimizer a state of its own."""
        for member, name, view in self.views:
            member.optimizer.state[member.parameter][name] = view.clone()

    def update_parameters(
        self, gradients: Sequence[Tensor], options: Group, finite: Tensor
    ) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        old = dict(self.state)
        if "step" in old:
            old["step"] = old["step"][0]
        p = torch.cat([member.parameter.flatten() for member in self.members])
        gradient = torch.cat([g.flatten() for g in gradients])
        value, new = self.update.apply(p, gradient, old, options)
        value = torch.where(finite, value, p)
        for member, part in zip(self.members, value.split(self.sizes)):
            member.parameter.copy_(part.view(member.parameter.shape))
        for name, state in new.items():
            self.state[name].copy_(torch.where(finite, state, old[name]))


def group_parameters(
    members: Sequence[OptimizedParameter], options: Options, *, together: bool
) -> list[ParameterGroup]:
    r"""Sorts the parameters whose update can be in a graph into groups."""
    kinds: dict[Any, list[OptimizedParameter]] = {}
    elements = sum(member.parameter.numel() for member in members)
    small = together and (elements < SMALL or members[0].parameter.is_cuda)
    for member in members:
        if member.update is not None:
            kinds.setdefault(member.kind if small else id(member.parameter), []).append(member)
    return [
        ParameterGroup(same, same[0].update, options) for same in kinds.values() if same[0].update
    ]


def _scalar(value: Any, p: Tensor) -> Tensor:
    r"""Returns a count as a tensor; as exact as the number that an optimizer counts in."""
    dtype = value.dtype if isinstance(value, Tensor) else torch.float64
    return torch.as_tensor(value or 0, dtype=dtype, device=p.device).reshape(1)
