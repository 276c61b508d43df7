r"""A program with its reads, writes and random draws, recorded as one flat graph of tensors.

Pyro's objectives call ``.item()`` on the loss and ask whether it is NaN. Both end a recording, and
on a GPU both wait for the device. While a program is recorded they are answered in another way;
no function of Pyro is changed, and none is known by name.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule, Node, Proxy
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
    make_fx,
)
from torch.fx.graph import CodeGen
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .externals import Externals, restore, undisturbed_randomness

aten = torch.ops.aten


Program = Callable[..., Sequence[Tensor]]


class NotStatic(ValueError):
    r"""The program's structure depends on data, so that no one graph is all of it."""


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
            "Expected control flow that does not depend on data; got a call that reads the value "
            f"or the structure of a tensor, {where(error)}. Use torch.where or a mask, or run it "
            "eagerly. "
            f"({str(error).strip().splitlines()[0]})"
        ) from error
    finally:
        restore(seen.before)
    constants = lift_constants(module)
    changed = [tensor for tensor, _ in seen.before]
    return Graph(tidy(module), [*constants, *externals], changed, constants)


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


# --- Calls that read tensors ---------------------------------------------------------------------


@contextmanager
def numbers_stay_tensors() -> Iterator[None]:
    r"""Lets a program be recorded that asks its tensors for numbers, or refuses it.

    - ``tensor.item()`` is ``tensor.detach()``: arithmetic goes on with the tensor.
    - ``tensor.isnan().any()`` is False: what is not finite is found when the graph runs.
    - The checks of a distribution's arguments and values pass: they passed a moment ago.
    - ``(tensor.exp() > 0).all()`` is True: enumeration asks it to leave out terms that underflow
      to zero, which add zero anyhow.
    - Any other number, such as that of ``if tensor > 0``, is given if no input and no random draw
      can change it.

    Raises:
        NotStatic: A number is needed that depends on data or random draws.
    """
    with _Items(), _Numbers():
        yield


class _Items(TorchFunctionMode):
    r"""Calls of Python that read a tensor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.item and recorded(args[0]) is not None:
            return args[0].detach()
        if func is torch.nn.functional.one_hot:  # its checks ask for numbers
            return _one_hot(*args, **(kwargs or {}))
        if func in (Tensor.tolist, Tensor.numpy, Tensor.__array__):
            refuse_if_varying(args[0], "the values")
        return func(*args, **(kwargs or {}))


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 0:
        refuse_if_varying(tensor, "the highest value")
        return torch.nn.functional.one_hot(tensor)
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


class _Numbers(TorchDispatchMode):
    r"""Calls that read the value of a tensor, wherever they come from."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not aten._local_scalar_dense.default:
            return func(*args, **(kwargs or {}))
        asked = operations(recorded(args[0]))
        if asked[:2] == ["aten.any", "aten.isnan"]:
            return False
        if asked[:1] == ["aten._is_all_true"] or asked[:3] == ["aten.all", "aten.gt", "aten.exp"]:
            return True
        refuse_if_varying(args[0], "the value")
        with disable_proxy_modes_tracing():
            return func(*args)


def refuse_if_varying(tensor: Tensor, what: str) -> None:
    node = recorded(tensor)
    if node is not None and varies(node):
        raise NotStatic(
            f"Expected control flow that does not depend on data; got a call that reads {what} of "
            f"a tensor that does, {where()}. Use torch.where or a mask, or run it eagerly."
        )


def recorded(tensor: Tensor) -> Node | None:
    r"""Returns the node of the graph being recorded that a tensor stands for."""
    mode = get_proxy_mode()
    slot = get_proxy_slot(tensor, mode.tracer, None) if mode is not None else None
    proxy = getattr(slot, "proxy", None)
    return proxy.node if isinstance(proxy, Proxy) else None


def operations(node: Node | None) -> list[str]:
    r"""Names the operations that led to a node, the last one first, while each has one input."""
    names = []
    while node is not None and node.op == "call_function":
        names.append(str(node.target).rpartition(".")[0])
        node = node.all_input_nodes[0] if len(node.all_input_nodes) == 1 else None
    return names


def varies(node: Node) -> bool:
    r"""Tells whether an input or a random draw stands behind a node."""
    ahead, seen = [node], set()
    while ahead:
        node = ahead.pop()
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if node.op == "placeholder" or random:
            return True
        seen.add(node)
        ahead += [other for other in node.all_input_nodes if other not in seen]
    return False


def where(error: BaseException | None = None) -> str:
    r"""Names the line of the user's program that is running, or where an error was raised."""
    inside = ("/torch/", "/pyro/", "/opt_einsum/", "/pyro_vae/compile/", "<")
    stack = traceback.extract_tb(error.__traceback__) if error else traceback.extract_stack()
    for frame in reversed(stack):
        if not any(part in frame.filename for part in inside):
            return f"at {frame.filename}:{frame.lineno}: {frame.line}"
    return "inside Pyro"
