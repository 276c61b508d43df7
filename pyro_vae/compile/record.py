r"""A program with its reads, writes and random draws, recorded as one flat graph of tensors."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np
import pyro
import torch
from torch import Generator, Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

from .arguments import Call, leaves_of
from .draws import Draws
from .externals import Externals, undisturbed_randomness
from .guards import Guards, cut, put_back
from .look import Look
from .questions import Arrays, Recorder, stand_in
from .refusals import NotStatic, PartialGradients, refusal, where
from .watch import Watch

MANY_OPERATIONS = 20_000
Program = Callable[..., Sequence[Tensor]]


@dataclass
class Graph:
    r"""A recorded program.

    Attributes:
        module: Takes the external tensors, the arguments and the tensors that the guards make;
            returns what the program returned.
        externals: The tensors that it reads beside its arguments, some of which it changes.
        changed: Those that it changes in place.
        constants: Those that it made while it was recorded, which now stay what they are.
        guards: Computes the numbers that it takes for granted.
        numbers: Those numbers.
        watch: What Python held when it was recorded.
        generators: The random generators that it draws from and the program brought itself.
    """

    module: GraphModule
    externals: list[Tensor]
    changed: list[Tensor]
    constants: list[Tensor]
    guards: Guards | None
    numbers: Any
    watch: Watch
    generators: list[Generator]


def record(
    program: Program,
    call: Call,
    inputs: Sequence[Tensor],
    parameters: Collection[Tensor] = (),
    most: int = MANY_OPERATIONS,
) -> Graph:
    r"""Records a program: its operations on the inputs and on all other tensors that it meets.

    The program runs twice here, once to see which tensors it meets and once to be recorded;
    random generators, tensors, gradients and what Python holds are put back after each. Pyro's
    handlers, plates and checks run now and never again.

    Arguments:
        program: A function of arguments and arguments by name that returns tensors. It may compute
            gradients, and change tensors in place.
        call: Its arguments.
        inputs: The tensors of these. The graph takes others of their shape, dtype, device and
            strides.
        parameters: The tensors that a step moves, so that no number may depend on them.
        most: How many operations it may have.

    Raises:
        NotStatic: Random draws or parameters decide the program's structure, or it has more
            operations.
    """
    import torch._dynamo  # noqa: F401, here, or PyTorch does it while the program is watched

    inputs = [tensor.detach() for tensor in inputs]  # other objects than any that it may hold

    def run(values: Sequence[Any]) -> list[Tensor]:
        args, kwargs = call.rebuild(values)
        before = leaves_of((args, kwargs))
        outputs = list(program(args, kwargs))
        after = leaves_of((args, kwargs))
        if len(before) != len(after) or not all(map(is_, before, after)):
            raise NotStatic(refusal("puts something else into its arguments"))
        return outputs

    values = [stand_in(value, tensor, None) for value, tensor in zip(call.inputs, inputs)]
    draws, look = Draws(), Look()
    seen = Externals([v for v in values if isinstance(v, np.ndarray)], draws)
    try:
        with look.looking(), undisturbed_randomness(), Arrays(), seen:
            run(values)
            draws.check_end()
    except (NotStatic, PartialGradients):
        raise
    except Exception as error:  # it gets tensors where it got numbers of Python
        raise not_static(error) from error
    finally:
        exchanged = seen.replaced()
        seen.restore()
        look.restore()
    if look.drawn == "inside Pyro":
        with undisturbed_randomness():
            look.locate(lambda: run(values))
        seen.restore()
        look.restore()
    look.check(seen.tensors, exchanged)
    if seen.operations > most:
        raise NotStatic(
            f"Expected a step of at most {most:,} operations; got {seen.operations:,}, whose "
            "recording would take long and gain little. Run it eagerly."
        )
    here = {id(tensor) for tensor in inputs}
    externals = [tensor for tensor in seen.tensors if id(tensor) not in here]
    moving = {id(tensor) for tensor in parameters}
    moved = [i for i, tensor in enumerate(externals) if id(tensor) in moving]

    def trace(exact: bool) -> tuple[GraphModule, Recorder]:
        recorder = Recorder(moved, draws.repeated, exact)

        def flat(*tensors: Tensor) -> list[Tensor]:
            own = tensors[len(externals) :]
            with recorder.recording():
                values = [stand_in(v, t, recorder) for v, t in zip(call.inputs, own)]
                arrays = [i for i, value in enumerate(values) if isinstance(value, np.ndarray)]
                for i in seen.shared:
                    recorder.guard(own[arrays[i]], "contents", "the values")
                return run(values)

        try:
            with undisturbed_randomness(), pyro.validation_enabled(False), without_onednn():
                module = make_fx(flat)(*externals, *inputs)
        except Exception:
            if recorder.refused is None:
                raise
        finally:
            seen.restore()
            recorder.draws.restore()
            look.restore()
        if recorder.refused is not None:  # and perhaps caught by the program
            raise recorder.refused
        return module, recorder

    try:
        module, recorder = trace(exact=False)
    except (NotStatic, PartialGradients):
        raise
    except Exception:  # perhaps it wants a number of Python where it got a tensor
        try:
            module, recorder = trace(exact=True)
        except (NotStatic, PartialGradients):
            raise
        except Exception as error:  # it ran a moment ago: what fails is the recording
            raise not_static(error) from error
    put_back(module, recorder.masked)
    constants = lift_constants(module)
    placeholders = module.graph.find_nodes(op="placeholder")
    tensors = [*constants, *externals, *inputs]
    for node, tensor in zip(placeholders, tensors):
        node.meta["storage"] = _storage(tensor)
    guards = cut(module, recorder.questions)
    with undisturbed_randomness():
        numbers = guards(tensors)[0] if guards is not None else ()
    changed = [tensor for tensor, _ in seen.before]
    generators = [generator for generator, _ in draws.before]
    externals, watch = [*constants, *externals], look.watch(seen.tensors)
    return Graph(tidy(module), externals, changed, constants, guards, numbers, watch, generators)


def not_static(error: Exception) -> NotStatic:
    r"""Says that a program failed while it was recorded."""
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    return NotStatic(
        f"{refusal('reads the value or the structure of a tensor', error)} ({reason})"
    )


@contextmanager
def without_onednn() -> Iterator[None]:
    r"""Lets an LSTM be plain operations: that of oneDNN has a state that no graph can hold."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


def lift_constants(module: GraphModule) -> list[Tensor]:
    r"""Makes the tensors that a graph holds its first inputs, and returns them."""
    graph, constants = module.graph, {}
    first = next(iter(graph.nodes))
    for node in graph.find_nodes(op="get_attr"):
        if not isinstance(getattr(module, str(node.target)), Tensor):
            continue  # a random generator
        users = [user for user in node.users if user.users or user.op == "output"]
        if users:  # a literal nobody uses is only copied
            name = str(node.target)
            if name not in constants:
                with graph.inserting_before(first):
                    constants[name] = graph.placeholder(name)
            node.replace_all_uses_with(constants[name])
        for user in list(node.users):
            graph.erase_node(user)
        graph.erase_node(node)
    return [getattr(module, name) for name in constants]


def tidy(module: GraphModule) -> GraphModule:
    r"""Takes off what recording left on a graph, but for what is known of the draws."""
    for node in module.graph.nodes:
        value = node.meta.get("val")
        node.meta.clear()
        if isinstance(value, Tensor) and isinstance(node, Node):
            node.meta["like"] = value.shape, value.stride(), value.dtype, value.device
    module.graph.set_codegen(CodeGen())
    module.recompile()
    return module


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)


__all__ = ["Graph", "NotStatic", "Program", "record", "where"]
