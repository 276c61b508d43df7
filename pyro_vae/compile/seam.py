r"""The seam into Pyro: a program runs once, and the numbers it takes out of tensors stay in.

Pyro's objectives call ``.item()`` on the loss and ask whether it is NaN. Both end a recording, and
on a GPU both wait for the device. While a program is recorded they are answered in another way;
no function of Pyro is changed, and none is known by name.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node, Proxy
from torch.fx.experimental.proxy_tensor import (
    disable_proxy_modes_tracing,
    get_proxy_mode,
    get_proxy_slot,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class NotStatic(ValueError):
    r"""The program's structure depends on data, so that no one graph is all of it."""


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
        NotStatic: A number is asked for that data or random draws decide.
    """
    with _Items(), _Numbers():
        yield


class _Items(TorchFunctionMode):
    r"""What Python asks a tensor for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.item and recorded(args[0]) is not None:
            return args[0].detach()
        if func is torch.nn.functional.one_hot:  # its checks ask for numbers
            return _one_hot(*args, **(kwargs or {}))
        if func in (Tensor.tolist, Tensor.numpy, Tensor.__array__):
            refuse_if_varying(args[0], "the numbers")
        return func(*args, **(kwargs or {}))


def _one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    if num_classes < 0:
        refuse_if_varying(tensor, "the highest")
        return torch.nn.functional.one_hot(tensor)
    return (tensor[..., None] == torch.arange(num_classes, device=tensor.device)).long()


class _Numbers(TorchDispatchMode):
    r"""What is asked of a tensor in the end, whoever asks."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not aten._local_scalar_dense.default:
            return func(*args, **(kwargs or {}))
        asked = operations(recorded(args[0]))
        if asked[:2] == ["aten.any", "aten.isnan"]:
            return False
        if asked[:1] == ["aten._is_all_true"] or asked[:3] == ["aten.all", "aten.gt", "aten.exp"]:
            return True
        refuse_if_varying(args[0], "the number or the truth")
        with disable_proxy_modes_tracing():
            return func(*args)


def refuse_if_varying(tensor: Tensor, what: str) -> None:
    node = recorded(tensor)
    if node is not None and varies(node):
        raise NotStatic(
            f"Expected a program whose structure no data decide; got one that takes {what} of a "
            f"tensor that they do, {where()}. Say it with tensors (torch.where, a mask), or run "
            "it eagerly."
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
