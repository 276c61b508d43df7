r"""A program recorded and compiled once for every kind of call."""

import sys
import time
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .backend import Backend, Function, Library, compile_graph
from .graph import Graph, record, unroll
from .signature import Call, Inputs

SECONDS_TO_MENTION = 2.0
MANY = 8  # graphs of one program; more look like a mistake


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
        program: Returns tensors; what it reads and changes besides is found by running it.
        device: Where its floats are put.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        modules: Modules whose training mode the program depends on.
        library: What computes large matrix products on a CPU; the faster one by default.
    """

    program: Callable[..., Sequence[Tensor]]
    device: torch.device
    backend: Backend = "inductor"
    modules: Sequence[nn.Module] = ()
    library: Library | None = None
    entries: dict[Hashable, Compiled] = field(default_factory=dict, init=False)

    def get(self, call: Call, steps: int = 1, stacked: Sequence[bool] = ()) -> Compiled:
        r"""Returns the program for a kind of call; `steps` of it in one are made from one.

        Raises:
            NotStatic: Data decide the program's structure.
        """
        key = (call.key, steps, tuple(module.training for module in self.modules))
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
            one = (
                [t[0] if own else t for t, own in zip(tensors, stacked)] if steps > 1 else tensors
            )
            graph = record(lambda *args: self.program(*call.rebuild(args)), one)
            if steps > 1:
                graph = unroll(graph, steps, tensors, stacked)
            function = compile_graph(graph, tensors, self.backend, self.library)
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
                f"({kind}): {nodes} operations, {len(entry.graph.externals)} tensors besides the "
                f"arguments, of which {len(entry.graph.changed)} change and "
                f"{len(entry.graph.constants)} are constants; compiled in {entry.seconds:.1f} s, "
                f"called {entry.calls} times"
            )
        return "\n".join(lines)


def _described(leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"
    return "float" if isinstance(leaf, float) else repr(leaf)
