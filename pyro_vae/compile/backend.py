r"""From a flat graph to a fast function: inductor on a CPU, inductor and CUDA graphs on a GPU."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .graph import Graph

Backend = Literal["inductor", "graph"]
Function = Callable[..., Sequence[Tensor]]


def compile_graph(graph: Graph, args: Sequence[Tensor], backend: Backend) -> Function:
    r"""Makes a function of a graph's arguments.

    Arguments:
        graph: The graph.
        args: Arguments of the shapes to come.
        backend: ``"inductor"`` compiles; ``"graph"`` runs the operations one by one.

    Returns:
        A function that takes the arguments and returns what the graph returns.
    """
    module: Function = graph.module
    if backend == "inductor" and has_compiler():
        import torch._inductor as inductor

        options: dict[str, Any] = {
            "fallback_random": True,  # draws and generator states are those of eager PyTorch
            "cpp_wrapper": True,
            "size_asserts": False,
            "cpp.min_chunk_size": 4096,  # a loop shorter than this is not worth a second thread
        }
        with torch.no_grad():
            module = inductor.compile(
                graph.module, [*graph.externals, *args], options=options
            )
    externals = graph.externals

    def function(*args: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            return module(*externals, *args)

    return function


def has_compiler() -> bool:
    return shutil.which("g++") is not None
