r"""A program recorded and compiled once for every kind of call."""

import sys
import time
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from .backend import Backend, Function, compile_graph
from .record import Graph, NotStatic, record

SECONDS_TO_MENTION = 2.0
MANY = 8  # graphs of one program; more look like a mistake


ELEMENTS_TO_COMPILE = 2e9
r"""How many numbers p(x | z) must have, over all calls, before a compiler is done sooner."""
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
        r"""Replaces the inputs by others."""
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


@dataclass
class Compiled:
    r"""A program for one kind of call."""

    call: Call
    graph: Graph
    function: Function
    inputs: Inputs
    seconds: float
    calls: int = 0


@dataclass
class Cache:
    r"""Creates a program of tensors that is recorded once for every kind of call.

    Arguments:
        program: Returns tensors; what else it reads and changes is found by running it.
        device: Where its floats are put.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        modules: Modules whose training mode the program depends on.
    """

    program: Callable[..., Sequence[Tensor]]
    device: torch.device
    backend: Backend = "inductor"
    modules: Sequence[nn.Module] = ()
    entries: dict[Hashable, Compiled] = field(default_factory=dict, init=False)

    def get(self, call: Call) -> Compiled:
        r"""Returns the program for a kind of call.

        Raises:
            NotStatic: Data decide the program's structure.
        """
        key = (call.key, tuple(module.training for module in self.modules))
        if key not in self.entries:
            if len(self.entries) == MANY:
                warnings.warn(
                    f"A step was recorded for {MANY} kinds of arguments, and is again. Each takes "
                    "seconds: pass numbers that change as floats or tensors, and batches of one "
                    "size.",
                    stacklevel=4,
                )
            start = time.perf_counter()
            inputs = Inputs(call.inputs, self.device)
            tensors = inputs(call.inputs)
            graph = record(lambda *args: self.program(*call.rebuild(args)), tensors)
            function = compile_graph(graph, tensors, self.backend)
            seconds = time.perf_counter() - start
            if seconds > SECONDS_TO_MENTION:
                print(f"Compiled a step in {seconds:.1f} s.", file=sys.stderr)
            self.entries[key] = Compiled(call, graph, function, inputs, seconds)
        return self.entries[key]

    def explain(self) -> str:
        r"""Tells what was recorded, a line for every kind of call."""
        lines = []
        for entry in self.entries.values():
            nodes = len(entry.graph.module.graph.nodes)
            kind = ", ".join(map(_described, entry.call.leaves))
            lines.append(
                f"({kind}): {nodes} operations, {len(entry.graph.externals)} other tensors, "
                f"of which {len(entry.graph.changed)} change and "
                f"{len(entry.graph.constants)} are constants; compiled in {entry.seconds:.1f} s, "
                f"called {entry.calls} times"
            )
        return "\n".join(lines)


def _described(leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"
    return "float" if isinstance(leaf, float) else repr(leaf)


class Staged:
    r"""Creates a function of tensors that is recorded and compiled at its first call.

    Calls with other shapes, and programs that are not static, run as they are. Random draws and
    their order are the same compiled or not.

    Arguments:
        function: Returns tensors.
        vae: Whose parameters it reads.
        elements: How many numbers :math:`p(x \mid z)` will have over all calls.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], vae: nn.Module, elements: float
    ) -> None:
        self.function = function
        self.cache: Cache | None = None
        self.key: Any = None
        if elements >= ELEMENTS_TO_COMPILE:
            self.cache = Cache(
                lambda args, kwargs: function(*args, **kwargs),
                next(vae.parameters()).device,
                modules=[vae],
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Tensor]:
        if self.cache is None:
            return self.function(*args, **kwargs)
        call = Call.of(args, kwargs)
        self.key = self.key or call.key
        if call.key != self.key:
            return self.function(*args, **kwargs)
        try:
            compiled = self.cache.get(call)
        except NotStatic:
            self.cache = None
            return self.function(*args, **kwargs)
        return compiled.function(*compiled.inputs(call.inputs))
