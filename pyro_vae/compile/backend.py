r"""From a flat graph to a fast function: inductor on a CPU, inductor and CUDA graphs on a GPU."""

import shutil
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
    inputs = [*graph.externals, *args]
    run = inductor(graph, inputs) if backend == "inductor" else graph.module
    externals = graph.externals

    def function(*args: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            return run(*externals, *args)

    return function


def inductor(graph: Graph, inputs: Sequence[Tensor]) -> Function:
    r"""Compiles a graph for a CPU or a GPU."""
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner

    options: dict[str, Any] = {
        "fallback_random": True,  # draws and generator states are those of eager PyTorch
        "cpp_wrapper": True,
        "size_asserts": False,
        "cpp.min_chunk_size": 4096,  # a loop shorter than this is not worth a second thread
    }
    inner: list[Any] = []

    def keep(module: Any, examples: Sequence[Any], **kwargs: Any) -> Any:
        inner.append((compile_fx_inner(module, examples, **kwargs), len(examples)))
        return inner[-1][0]

    with torch.no_grad():
        outer = compile_fx(graph.module, list(inputs), inner_compile=keep, config_patches=options)
    compiled: Any
    [(compiled, count)] = inner
    if count != len(inputs):
        return outer  # type: ignore[return-value]
    return lambda *tensors: compiled(list(tensors))


def has_compiler() -> bool:
    return shutil.which("g++") is not None
