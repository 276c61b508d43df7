r"""A program with its reads, writes and random draws, recorded as one flat graph of tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.graph import CodeGen

from .externals import Externals, keep, restore, undisturbed_randomness
from .seam import NotStatic, numbers_stay_tensors, where

Program = Callable[..., Sequence[Tensor]]


@dataclass
class Graph:
    r"""A recorded program.

    Attributes:
        module: Takes the external tensors, then the arguments; returns what the program returned.
        externals: The tensors that it reads beside its arguments, some of which it changes.
        changed: Those that it changes in place.
        constants: Those that it made while it was recorded, which now stay what they are.
    """

    module: GraphModule
    externals: list[Tensor]
    changed: list[Tensor]
    constants: list[Tensor]


def record(program: Program, args: Sequence[Tensor]) -> Graph:
    r"""Records a program: its operations on the tensors `args` and on all others that it meets.

    The program runs twice here, once to see which tensors it meets and once to be recorded;
    random generators and tensors are put back after each. Pyro's handlers, plates and checks run
    now and never again.

    Arguments:
        program: A function of tensors that returns tensors. It may compute gradients, and change
            tensors in place.
        args: Its arguments. The graph takes others of their shape, dtype, device and strides.

    Raises:
        NotStatic: Data decide the program's structure.
    """
    args = [arg.detach() for arg in args]  # other objects than any that the program may hold
    seen = Externals()
    try:
        with undisturbed_randomness(), seen:
            program(*args)
    finally:
        restore(seen.before)
    here = {id(arg) for arg in args}
    externals = [tensor for tensor in seen.tensors if id(tensor) not in here]

    def flat(*tensors: Tensor) -> list[Tensor]:
        with numbers_stay_tensors():
            return list(program(*tensors[len(externals) :]))

    try:
        with undisturbed_randomness(), pyro.validation_enabled(False):
            module = make_fx(flat)(*externals, *args)
    except NotStatic:
        raise
    except Exception as error:  # it ran a moment ago: what fails is the recording
        raise NotStatic(
            "Expected a program that tensors alone decide; got one that asks for a number or the "
            f"structure of a tensor, {where(error)}. Say it with tensors, or run it eagerly. "
            f"({str(error).strip().splitlines()[0]})"
        ) from error
    finally:
        restore(seen.before)
    constants = lift_constants(module)
    changed = [tensor for tensor, _ in seen.before]
    return Graph(tidy(module), [*constants, *externals], changed, constants)


def unroll(graph: Graph, steps: int, args: Sequence[Tensor], stacked: Sequence[bool]) -> Graph:
    r"""Repeats a graph several times in one.

    Arguments:
        graph: What to repeat.
        steps: How often.
        args: Its arguments; those `stacked` have a leading dimension of `steps`.
        stacked: Which arguments each repetition has its own of.

    Returns:
        A graph whose outputs are stacked along a leading dimension of `steps`.
    """
    count = len(graph.externals)

    def repeated(*tensors: Tensor) -> list[Tensor]:
        externals, rest = tensors[:count], tensors[count:]
        rows = [
            graph.module(*externals, *(a[i] if own else a for a, own in zip(rest, stacked)))
            for i in range(steps)
        ]
        return [torch.stack(column) for column in zip(*rows)]

    before = keep(graph.changed)
    with undisturbed_randomness(), torch.no_grad():
        module = make_fx(repeated)(*graph.externals, *args)
    restore(before)
    return replace(graph, module=tidy(module))


def lift_constants(module: GraphModule) -> list[Tensor]:
    r"""Makes the tensors that a graph holds its first inputs, and returns them."""
    graph, constants = module.graph, {}
    first = next(iter(graph.nodes))
    for node in graph.find_nodes(op="get_attr"):
        users = [user for user in node.users if user.users]  # a literal nobody uses is only copied
        if users:
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
    r"""Takes off what recording left on a graph: fake values, the shape of nested arguments."""
    for node in module.graph.nodes:
        node.meta.clear()
    module.graph.set_codegen(CodeGen())
    module.recompile()
    return module
