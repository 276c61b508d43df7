r"""Matrix products of a compiled graph: their biases, and the faster of two libraries."""

import time
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

from .backend import Library

aten = torch.ops.aten
WORTH_CHANGING = 1_000_000  # multiplications; below, the call costs more than it could save


class Products(CustomGraphPass):
    r"""Creates a pass over inductor's graph that prepares its matrix products.

    A bias is added in the loop that reads the product, not by a pass of its own. Large products go
    to oneDNN if that is the faster library on this processor; it takes strided views, so that
    transposed operands are not copied.

    Arguments:
        library: ``"blas"`` or ``"onednn"``.
    """

    def __init__(self, library: Library) -> None:
        self.library = library

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            self.split_bias(graph, node)
        if self.library == "onednn":
            for node in graph.find_nodes(op="call_function", target=aten.mm.default):
                rows, inner = node.args[0].meta["val"].shape
                if rows * inner * node.meta["val"].shape[1] >= WORTH_CHANGING:
                    node.target = torch.ops.pyro_vae.mm_onednn.default

    def split_bias(self, graph: Graph, node: Node) -> None:
        bias, a, b = node.args
        if node.kwargs or bias.meta["val"].dim() != 1:  # type: ignore[union-attr]
            return
        with graph.inserting_before(node):
            product = graph.call_function(aten.mm.default, (a, b))
            total = graph.call_function(aten.add.Tensor, (product, bias))
        product.meta, total.meta = dict(node.meta), dict(node.meta)
        node.replace_all_uses_with(total)
        graph.erase_node(node)

    def uuid(self) -> Any:
        r"""Tells inductor's cache which pass this is."""
        return get_hash_for_files((__file__,), self.library)


@torch.library.custom_op("pyro_vae::mm_onednn", mutates_args=())
def mm_onednn(a: Tensor, b: Tensor) -> Tensor:
    r"""Returns the matrix product of `a` and `b`, by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


@mm_onednn.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


@lru_cache
def faster_library() -> Library:
    r"""Measures both libraries, once in a process, on the products of a layer of usual size."""
    if not torch.backends.mkldnn.is_available():
        return "blas"
    a, b = torch.ones(128, 784), torch.ones(784, 400)
    seconds = {"blas": [], "onednn": []}  # type: dict[Any, list[float]]
    for _ in range(20):
        for name, multiply in (("blas", torch.mm), ("onednn", mm_onednn)):
            start = time.perf_counter()
            multiply(a, b)
            multiply(b.t(), a.t())
            seconds[name].append(time.perf_counter() - start)
    return "onednn" if min(seconds["onednn"]) < 0.9 * min(seconds["blas"]) else "blas"
