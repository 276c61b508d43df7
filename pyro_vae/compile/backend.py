r"""From a flat graph to a fast function: inductor on a CPU, and CUDA graphs around it on a GPU."""

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import GraphModule

from .externals import keep, restore, undisturbed_randomness
from .parts import Parts
from .record import Graph

Backend = Literal["inductor", "graph"]
Function = Callable[..., Sequence[Tensor]]


def compile_graph(graph: Graph, args: Sequence[Tensor], backend: Backend) -> Function:
    r"""Makes a function of a graph's arguments.

    Arguments:
        graph: The graph.
        args: Arguments of the shapes to come.
        backend: ``"inductor"`` compiles; ``"graph"`` runs the operations one by one, as happens
            where there is no C++ compiler or it refuses the graph.

    Returns:
        A function that takes the arguments and returns what the graph returns.
    """
    externals = graph.externals
    inputs = [*externals, *args]
    run: Function = graph.module.forward  # no hook on modules is meant for it
    if backend == "inductor" and has_compiler():
        try:
            run = Parts(graph.module, inputs, inductor)
        except Exception as error:  # an operation that it does not know, say
            reason = str(error).strip().partition("\n")[0]
            print(
                f"Steps run uncompiled: the compiler refused the graph. ({reason})",
                file=sys.stderr,
            )
        else:
            obstacle = why_not_captured(graph, inputs)
            if obstacle is None:
                return Replay(run, graph, args)
            if any(tensor.device.type == "cuda" for tensor in inputs):
                print(f"Steps run without a CUDA graph: {obstacle}.", file=sys.stderr)

    def function(*args: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            return run(*externals, *args)

    return function


def why_not_captured(graph: Graph, inputs: Sequence[Tensor]) -> str | None:
    r"""Says why a step cannot be one CUDA graph, as far as its operations show."""
    if not inputs or any(tensor.device.type != "cuda" for tensor in inputs):
        return "it reads tensors that are not on the GPU"
    for node in graph.module.graph.nodes:
        if node.op == "get_attr":
            return "it draws from a generator of its own"
        if node.op != "call_function":
            continue
        device = node.meta["like"][3] if "like" in node.meta else None
        if device is not None and device.type != "cuda":
            return f"{node.target} makes a tensor on the CPU"
    return None


@lru_cache
def has_compiler() -> bool:
    r"""Tells whether there is a C++ compiler, and says so once if there is none."""
    found = any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
    if not found:
        print(
            "No C++ compiler was found: steps run uncompiled. Install g++ to make them faster.",
            file=sys.stderr,
        )
    return found


def inductor(module: GraphModule, inputs: Sequence[Tensor]) -> Function:
    r"""Compiles operations for the device of their inputs."""
    from torch._functorch import config as functorch
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx, compile_fx_inner
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    from .products import Products

    cpu = all(tensor.device.type == "cpu" for tensor in inputs)
    options: dict[str, Any] = {"fallback_random": True, "size_asserts": False}
    if cpu:
        options |= {
            "cpp_wrapper": True,
            "cpp.min_chunk_size": 4096,  # a shorter loop is not worth a second thread
            "post_grad_custom_post_pass": Products(),
        }
    inner: list[Any] = []

    def remember(inside: Any, examples: Sequence[Any], **kwargs: Any) -> Any:
        inner.append((compile_fx_inner(inside, examples, **kwargs), len(examples)))
        return inner[-1][0]

    forms = FakeTensorMode(shape_env=ShapeEnv())  # without shapes there is no cache on disk
    examples = [forms.from_tensor(tensor, static_shapes=True) for tensor in inputs]
    unwrapped = functorch.patch(enable_autograd_cache=False)  # that cache is of whole wrappers
    context = tracing(TracingContext(forms))
    with torch.no_grad(), warnings.catch_warnings(), context, unwrapped:
        warnings.simplefilter("ignore")  # the compiler's about itself
        outer = compile_fx(module, examples, inner_compile=remember, config_patches=options)
    compiled, count = inner[-1]
    if len(inner) > 1 or count != len(inputs):
        return outer  # type: ignore[return-value]
    return lambda *tensors: compiled(list(tensors))  # without the wrapper, which has no work here


class Replay:
    r"""Creates a function that replays a compiled step as one CUDA graph.

    Every tensor of the step stays where it is: the externals are the module's own, arguments are
    copied into tensors of fixed address, and results are read from such. The random generator's
    state enters each replay. A step that cannot be captured runs compiled without a graph, and
    leaves the random generator as it was.

    Arguments:
        run: The compiled step, of externals and arguments.
        graph: Its graph.
        args: Arguments of the shapes to come.
    """

    def __init__(self, run: Function, graph: Graph, args: Sequence[Tensor]) -> None:
        self.run, self.graph = run, graph
        self.args = [arg.clone() for arg in args]
        self.captured: torch.cuda.CUDAGraph | None = torch.cuda.CUDAGraph()
        before = keep(graph.changed)
        with undisturbed_randomness(), torch.no_grad():
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):  # kernels are loaded and memory is taken before the capture
                    run(*graph.externals, *self.args)
            torch.cuda.current_stream().wait_stream(stream)
        restore(before)
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        state = generator.clone_state()  # a failed capture leaves its own unusable
        try:
            with torch.no_grad(), torch.cuda.graph(self.captured):
                self.outputs = run(*graph.externals, *self.args)
        except RuntimeError as error:
            print(f"Steps run without a CUDA graph: {error}", file=sys.stderr)
            self.captured = None
            generator.graphsafe_set_state(state)
            torch.cuda.synchronize()

    def __call__(self, *args: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            if self.captured is None:
                return self.run(*self.graph.externals, *args)
            for fixed, arg in zip(self.args, args):
                fixed.copy_(arg)
            self.captured.replay()
            return [output.clone() for output in self.outputs]
