r"""Compilation in another process while training goes on; what it makes is in inductor's cache."""

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate

from ..ranks import here, pretend
from . import backend
from .parts import Parts
from .record import Graph

SECONDS_TO_WAIT = 120.0  # for a compiler that is late; then it is done here
CODE = """
import os, sys
sys.path[:] = {path!r}
if hasattr(os, "nice"):
    os.nice(19)  # in time that training does not want
from {module} import main
main()
"""


class Ahead:
    r"""Begins to compile a graph in another process.

    Nothing depends on its success: whoever compiles the graph later finds it on disk, or does not.

    Arguments:
        graph: The graph.
        args: Arguments of the shapes to come.
    """

    def __init__(self, graph: Graph, args: Sequence[Tensor]) -> None:
        segments: list[tuple[list[Any], list[Any]]] = []

        def note(module: GraphModule, inputs: Sequence[Tensor]) -> Callable:
            segments.append((written(module), [*map(_form, inputs)]))
            return module.forward

        self.process: subprocess.Popen[bytes] | None = None
        if backend.has_compiler():
            with contextlib.suppress(Exception):  # what is wrong is said when it is wanted
                Parts(graph.module, [*graph.externals, *args], note)
                self.begin(segments)

    def begin(self, segments: Sequence[Any]) -> None:
        r"""Starts the process, unless one has done the same before."""
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        threads = torch.get_num_threads()
        work = pickle.dumps((torch.__version__, threads, segments))
        done = Path(cache_dir()) / f"pyro_vae-{sha256(work).hexdigest()}"
        if done.exists():
            return
        with TemporaryFile() as message:
            pickle.dump((done, threads, here().count, segments), message)
            message.seek(0)
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE.format(path=sys.path, module=__name__)],
                stdin=message,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def wait(self) -> None:
        r"""Waits until it is done."""
        try:
            if self.process is not None:
                self.process.wait(SECONDS_TO_WAIT)
        except subprocess.TimeoutExpired:
            pass
        self.stop()

    def stop(self) -> None:
        r"""Ends it, done or not."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def __del__(self) -> None:
        self.stop()


class Value(NamedTuple):
    r"""The value of a node, by its number."""

    number: int


def written(module: GraphModule) -> list[Any]:
    r"""Returns a graph as plain values: name, operation and arguments of each node."""
    number = {node: i for i, node in enumerate(module.graph.nodes)}

    def plain(value: Any) -> Any:
        return Value(number[value]) if isinstance(value, Node) else value

    nodes = []
    for node in module.graph.nodes:
        target: Any = node.target
        if isinstance(target, OpOverload):
            target = target._schema.name, target._overloadname
        args, kwargs = map_aggregate((node.args, node.kwargs), plain)
        nodes.append((node.op, node.name, target, args, dict(kwargs)))
    return nodes


def read(nodes: Sequence[Any]) -> GraphModule:
    r"""Returns the graph of plain values."""
    graph, made = FxGraph(), list[Node]()
    for op, name, target, args, kwargs in nodes:
        if isinstance(target, tuple):
            space, packet = target[0].split("::")
            target = getattr(getattr(getattr(torch.ops, space), packet), target[1])
        args, kwargs = _with_nodes((args, kwargs), made)
        made.append(graph.create_node(op, target, args, kwargs, name))
    return GraphModule(torch.nn.Module(), graph)


def _with_nodes(value: Any, made: Sequence[Node]) -> Any:
    if isinstance(value, Value):
        return made[value.number]
    if isinstance(value, dict):
        return {name: _with_nodes(part, made) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_with_nodes(part, made) for part in value)
    return value


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def main() -> None:
    r"""Compiles the segments that standard input brings."""
    done, threads, count, segments = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    if count > 1:
        pretend(count)
    for nodes, forms in segments:
        examples = [
            torch.empty_strided(shape, stride, dtype=dtype, device=device)
            for shape, stride, dtype, device in forms
        ]
        backend.inductor(read(nodes), examples)
    done.touch()
