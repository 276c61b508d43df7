r"""The arguments of a call: the inputs of a graph, and what decides which graph it is."""

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

_SIMPLE = (Tensor, float, int, str, type(None), torch.dtype, torch.device, torch.Size)
_NUMBERS = (float, np.floating)
_NUMERIC = "biuf"  # kinds of numpy dtype that have a tensor


class Call(NamedTuple):
    r"""The arguments of a call, taken apart.

    Tensors, arrays of numpy and floats are inputs: a float becomes a 0-dim tensor, so that a
    schedule needs no second graph. Lists, tuples, dictionaries, dataclasses and other objects
    that hold inputs are taken apart, too. All else, and shapes, dtypes, devices and strides, is
    part of the `key`.

    Attributes:
        key: What decides which graph the call needs.
        leaves: All parts, in order.
        places: Which of them are inputs.
        args: The arguments.
        kwargs: Those by name.

    Example:
        >>> call = Call.of((torch.ones(2), 0.5, "mean"), {})
        >>> call.inputs
        [tensor([1., 1.]), 0.5]
        >>> call.rebuild([torch.zeros(2), torch.tensor(1.0)])
        ((tensor([0., 0.]), tensor(1.), 'mean'), {})
    """

    key: tuple[Hashable, ...]
    leaves: Sequence[Any]
    places: Sequence[int]
    args: tuple
    kwargs: Mapping[str, Any]

    @staticmethod
    def of(
        args: tuple, kwargs: Mapping[str, Any], counters: frozenset[int] = frozenset()
    ) -> "Call":
        r"""Takes arguments apart.

        Arguments:
            args: The arguments.
            kwargs: Those by name.
            counters: Places of whole numbers that are inputs, too, because they change.
        """
        leaves: list[Any] = [*args, *kwargs.values()]
        key: list[Hashable] = [len(args), *kwargs]
        if not all(isinstance(leaf, _SIMPLE) for leaf in leaves):
            leaves.clear()

            def take(leaf: Any) -> Any:
                leaves.append(leaf)
                return leaf

            replaced((args, dict(kwargs)), take, key)
        places = []
        for i, leaf in enumerate(leaves):
            if is_input(leaf) or i in counters:
                places.append(i)
                key.append(_kind(leaf))
            else:
                key.append(_identity(leaf))
        return Call(tuple(key), leaves, places, args, kwargs)

    def is_again(self, args: tuple, kwargs: Mapping[str, Any]) -> bool:
        r"""Tells whether other arguments are of this kind, if that is quickly seen."""
        if kwargs or self.kwargs or len(args) != len(self.leaves) or len(self.args) != len(args):
            return False
        for value, kind in zip(args, self.key[1:]):
            if type(value) is Tensor:
                if kind != (value.shape, value.stride(), value.dtype, value.device):
                    return False
                if value.requires_grad:
                    return False
            elif (value is not None and type(value) is not float) or kind != _QUICK[type(value)]:
                return False
        return True

    @property
    def inputs(self) -> list[Any]:
        r"""Tensors, arrays and numbers."""
        return [self.leaves[i] for i in self.places]

    @property
    def counts(self) -> dict[int, int]:
        r"""The whole numbers among the arguments, by place."""
        return {i: leaf for i, leaf in enumerate(self.leaves) if type(leaf) is int}

    def rebuild(self, inputs: Sequence[Any]) -> tuple[tuple, dict[str, Any]]:
        r"""Returns the arguments with the inputs replaced by others."""
        leaves = list(self.leaves)
        for i, value in zip(self.places, inputs):
            leaves[i] = value
        rest = iter(leaves)
        return replaced((self.args, dict(self.kwargs)), lambda leaf: next(rest))


def is_input(leaf: Any) -> bool:
    r"""Tells whether a part of the arguments is an input of the graph."""
    if isinstance(leaf, Tensor):
        return not leaf.requires_grad and leaf.layout == torch.strided
    return isinstance(leaf, _NUMBERS) or (
        isinstance(leaf, np.ndarray) and leaf.dtype.kind in _NUMERIC
    )


def replaced(value: Any, leaf: Callable[[Any], Any], key: list[Hashable] | None = None) -> Any:
    r"""Returns a copy of a structure with each leaf replaced, and notes its form in a `key`."""

    def inner(value: Any) -> Any:
        if isinstance(value, (*_SIMPLE, *_NUMBERS, np.ndarray, nn.Module, type)):
            return leaf(value)
        if isinstance(value, list | tuple):
            note(type(value), len(value))
            parts = [inner(part) for part in value]
            if isinstance(value, list) or type(value) is tuple:
                return type(value)(parts)
            return type(value)(*parts) if hasattr(value, "_fields") else leaf(value)
        if isinstance(value, dict):
            note(type(value), *value)
            new = copy.copy(value)
            new.update({name: inner(part) for name, part in value.items()})
            return new
        if isinstance(value, partial):
            note(partial)
            return partial(leaf(value.func), *inner(value.args), **inner(value.keywords))
        if holds_inputs(value):
            note(type(value), *vars(value))
            new = copy.copy(value)
            for name, part in vars(value).items():
                object.__setattr__(new, name, inner(part))
            return new
        return leaf(value)

    def note(*parts: Any) -> None:
        if key is not None:
            key.extend(parts)

    return inner(value)


def leaves_of(value: Any) -> list[Any]:
    r"""Returns the parts of a structure."""
    leaves: list[Any] = []

    def take(leaf: Any) -> Any:
        leaves.append(leaf)
        return leaf

    replaced(value, take)
    return leaves


def holds_inputs(value: Any, depth: int = 3) -> bool:
    r"""Tells whether an object has tensors or arrays among its attributes."""
    if isinstance(value, nn.Module | type) or callable(value):
        return False
    parts: Iterator[Any] = iter(getattr(value, "__dict__", {}).values())
    return depth > 0 and any(
        isinstance(part, Tensor | np.ndarray) or holds_inputs(part, depth - 1) for part in parts
    )


def _kind(leaf: Any) -> Hashable:
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.stride(), leaf.dtype, leaf.device
    if isinstance(leaf, np.ndarray):
        return np.ndarray, leaf.shape, leaf.dtype.str
    return int if isinstance(leaf, int) else float


_QUICK: dict[type, Hashable] = {float: float, type(None): (type(None), None)}


class _Same(NamedTuple):
    r"""An object that is equal to itself only."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _identity(leaf: Any) -> Hashable:
    if isinstance(leaf, Tensor):
        return _Same(leaf)
    try:
        hash(leaf)
    except TypeError:
        return _Same(leaf)
    return type(leaf), leaf


class Inputs:
    r"""Gives a tensor for every input; a number has one, written only when the number changes."""

    def __init__(self, example: Sequence[Any], device: torch.device) -> None:
        self.numbers = {
            i: torch.tensor(value, dtype=_dtype(value), device=device)
            for i, value in enumerate(example)
            if not isinstance(value, Tensor | np.ndarray)
        }
        self.arrays = [i for i, value in enumerate(example) if isinstance(value, np.ndarray)]
        self.last = {i: example[i] for i in self.numbers}

    def __call__(self, inputs: Sequence[Any]) -> list[Tensor]:
        r"""Returns the inputs as tensors."""
        tensors: list[Any] = list(inputs)
        for i, tensor in self.numbers.items():
            if inputs[i] != self.last[i]:
                tensor.fill_(inputs[i])
                self.last[i] = inputs[i]
            tensors[i] = tensor
        for i in self.arrays:
            tensors[i] = torch.from_numpy(np.array(inputs[i], order="C"))
        return tensors


def _dtype(value: Any) -> torch.dtype:
    return torch.int64 if isinstance(value, int) else torch.get_default_dtype()


class Array(np.ndarray):
    r"""An array that stands for an input while a program is recorded.

    Its shape and dtype may be read, and it may be made a tensor (:class:`~.questions.Items` does
    that). Whoever reads its numbers otherwise, `read` hears of it first.
    """

    tensor: Tensor
    read: Callable[[Tensor], Any]

    @staticmethod
    def of(values: np.ndarray, tensor: Tensor, read: Callable[[Tensor], Any]) -> "Array":
        r"""Returns the array of a tensor."""
        array = np.array(values, copy=True).view(Array)
        array.tensor, array.read = tensor, read
        return array

    def plain(self) -> np.ndarray:
        r"""Returns an array of the same numbers that hears of nothing, after `read` heard."""
        if "read" in self.__dict__:
            self.__dict__["read"](self.__dict__["tensor"])
        return np.ndarray.view(self, np.ndarray)

    def copy(self, order: Any = "C") -> "Array":
        return Array.of(np.ndarray.view(self, np.ndarray), self.tensor.clone(), self.read)

    def __getattribute__(self, name: str) -> Any:
        if name in _ANYBODYS or name.startswith("__"):
            return super().__getattribute__(name)
        return getattr(Array.plain(self), name)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return getattr(ufunc, method)(*_plain(inputs), **_plain(kwargs))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return func(*_plain(args), **_plain(kwargs))


_ANYBODYS = ("shape", "ndim", "size", "dtype", "nbytes", "copy", "tensor", "read", "plain")


def _reader(name: str) -> Callable:
    def reads(self: Array, *args: Any) -> Any:
        return getattr(Array.plain(self), name)(*args)

    return reads


for _name in ("getitem", "iter", "float", "int", "index", "bool", "complex", "contains", "array"):
    setattr(Array, f"__{_name}__", _reader(f"__{_name}__"))


def _plain(tree: Any) -> Any:
    if isinstance(tree, Array):
        return tree.plain()
    if isinstance(tree, dict):
        return {name: _plain(part) for name, part in tree.items()}
    return type(tree)(map(_plain, tree)) if isinstance(tree, list | tuple) else tree
