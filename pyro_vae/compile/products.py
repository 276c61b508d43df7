r"""Matrix products of a compiled graph on a CPU: their biases, and which library computes them."""

import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import Graph, Node

aten = torch.ops.aten
WORTH_CHANGING = 1_000_000  # multiplications; below, the two libraries take the same time


class Products(CustomGraphPass):
    r"""Creates a pass over inductor's graph that prepares its matrix products.

    A bias is added in the loop that reads the product, not by a pass of its own. On processors
    whose widest instructions MKL does not use, larger products go to oneDNN.
    """

    def __init__(self) -> None:
        self.to_onednn = mkl_is_narrow()

    def __call__(self, graph: Graph) -> None:
        for node in graph.find_nodes(op="call_function", target=aten.addmm.default):
            self.split_bias(graph, node)
        if self.to_onednn:
            for node in graph.find_nodes(op="call_function", target=aten.mm.default):
                self.move(node)

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

    def move(self, node: Node) -> None:
        a, b = (operand.meta["val"] for operand in node.args)  # type: ignore[union-attr]
        if a.dtype == torch.float32 and a.numel() * b.shape[1] >= WORTH_CHANGING:
            node.target = onednn_product()

    def uuid(self) -> Any:
        r"""Tells inductor's cache which pass this is."""
        return get_hash_for_files((__file__,), str(self.to_onednn))


@lru_cache
def mkl_is_narrow() -> bool:
    r"""Tells whether MKL leaves AVX-512 unused here, as it does on processors not of Intel."""
    if not torch.backends.mkl.is_available() or not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        maker = Path("/proc/cpuinfo").read_text()
    except OSError:
        maker = platform.processor()
    return "GenuineIntel" not in maker


@lru_cache
def onednn_product() -> Any:
    r"""Returns a matrix product that inductor hands to oneDNN, the second operand as it lies.

    Inductor's own way to oneDNN is meant for packed weights of inference: it would copy a
    transposed operand first. A part of a matrix is copied, as oneDNN has only its slow reference
    for such.
    """
    from torch._inductor.ir import FixedLayout, TensorBox
    from torch._inductor.lowering import permute, register_lowering
    from torch._inductor.mkldnn_ir import LinearUnary, _create_output_node

    @torch.library.custom_op("pyro_vae::mm_onednn", mutates_args=())
    def mm_onednn(a: Tensor, b: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")

    @mm_onednn.register_fake
    def _(a: Tensor, b: Tensor) -> Tensor:
        return a.new_empty(a.shape[0], b.shape[1])

    op = torch.ops.pyro_vae.mm_onednn.default

    @register_lowering(op, type_promotion_kind=None)
    def _(a: Any, b: Any) -> Any:
        rows = LinearUnary.require_contiguous(LinearUnary.realize_input(a))
        weight = LinearUnary.realize_input(permute(b, [1, 0]))
        n, k = weight.get_size()
        weight.freeze_layout()
        if list(weight.get_stride()) not in ([k, 1], [1, n]):  # a part: slow where it lies
            weight = LinearUnary.require_contiguous(weight)
        size = [rows.get_size()[0], n]
        layout = FixedLayout(device=torch.device("cpu"), dtype=rows.get_dtype(), size=size)
        inputs, constants = [rows, weight], [None, "none", [-1], ""]
        product = LinearUnary(layout=layout, inputs=inputs, constant_args=constants)
        return TensorBox.create(_create_output_node(product))

    return op
