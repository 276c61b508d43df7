r"""What of a call's arguments a graph depends on, and what it takes as inputs."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

_SIMPLE = (Tensor, float, int, str, type(None))


class Call(NamedTuple):
    r"""The arguments of a call, taken apart.

    Tensors and Python floats are inputs: a float becomes a 0-dim tensor, so that a schedule needs
    no second graph. Anything else, and shapes, dtypes, devices and strides, is part of the `key`.

    Example:
        >>> call = Call.of((torch.ones(2), 0.5, "mean"), {})
        >>> call.inputs
        [tensor([1., 1.]), 0.5]
        >>> call.rebuild([torch.zeros(2), torch.tensor(1.0)])
        ((tensor([0., 0.]), tensor(1.), 'mean'), {})
    """

    key: Hashable
    leaves: Sequence[Any]
    spec: TreeSpec | None
    names: tuple[str, ...]

    @staticmethod
    def of(args: tuple, kwargs: Mapping[str, Any]) -> "Call":
        r"""Takes arguments apart."""
        leaves: Sequence[Any] = (*args, *kwargs.values())
        spec = None
        if not all(isinstance(leaf, _SIMPLE) for leaf in leaves):
            leaves, spec = tree_flatten((args, dict(kwargs)))
        names = tuple(kwargs)
        return Call((names, spec, *map(_key, leaves)), leaves, spec, names)

    @property
    def inputs(self) -> list[Tensor | float]:
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor | float)]

    def rebuild(self, inputs: Sequence[Tensor]) -> tuple[tuple, dict[str, Any]]:
        r"""Puts other inputs in the place of these."""
        rest = iter(inputs)
        leaves = [next(rest) if isinstance(x, Tensor | float) else x for x in self.leaves]
        if self.spec is not None:
            return tree_unflatten(leaves, self.spec)
        count = len(leaves) - len(self.names)
        return tuple(leaves[:count]), dict(zip(self.names, leaves[count:]))


def _key(leaf: Any) -> Hashable:
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device
    if isinstance(leaf, float):
        return float
    return (type(leaf), leaf) if isinstance(leaf, Hashable) else id(leaf)


class Inputs:
    r"""Keeps a tensor for every float among the inputs, written only when the float changes."""

    def __init__(self, example: Sequence[Tensor | float], device: torch.device) -> None:
        self.floats = {
            i: torch.tensor(value, dtype=torch.get_default_dtype(), device=device)
            for i, value in enumerate(example)
            if isinstance(value, float)
        }
        self.last = {i: example[i] for i in self.floats}

    def __call__(self, inputs: Sequence[Tensor | float]) -> list[Tensor]:
        r"""Returns the inputs as tensors."""
        tensors: list[Any] = list(inputs)
        for i, tensor in self.floats.items():
            if inputs[i] != self.last[i]:
                tensor.fill_(inputs[i])
                self.last[i] = inputs[i]
            tensors[i] = tensor
        return tensors
