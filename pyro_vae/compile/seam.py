r"""The seam into Pyro: a program runs once, and the numbers it takes out of tensors stay in.

Pyro's objectives call ``.item()`` on the loss and ask whether it is NaN. Both end a recording, and
on a GPU both wait for the device. While a program is recorded, :class:`Recording` answers them in
another way; it changes no function of Pyro and knows none by name.
"""

import traceback
from collections.abc import Callable
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


class NotStatic(ValueError):
    r"""The program's structure depends on data, so that no one graph is all of it."""


class Recording(TorchFunctionMode):
    r"""Lets a program be recorded that asks its tensors for numbers, or refuses it.

    - ``tensor.item()`` is ``tensor.detach()``: arithmetic goes on with the tensor.
    - ``bool(tensor.isnan().any())`` is False; what is not finite is found when the graph runs.
    - Any other number, such as that of ``if tensor > 0``, is given if no input and no random draw
      can change it.

    Raises:
        NotStatic: A number is asked for that data or random draws decide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.checks: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _NUMBERS:
            return self.number(func, *args)
        if func is Tensor.backward:
            gradients = kwargs.pop("gradient", None)
            with self:  # its hooks ask for numbers too
                return torch.autograd.backward(args[0], gradients, **kwargs)
        out = func(*args, **kwargs)
        if func in (torch.isnan, Tensor.isnan) or (func in _ANY and self.is_check(args[0])):
            self.checks.append(out)
        return out

    def number(self, func: Callable, tensor: Tensor, *args: Any) -> Any:
        r"""What the program gets when it asks for the number in a tensor."""
        if self.is_check(tensor):
            return False
        node = recorded(tensor)
        if func is Tensor.item and node is not None:
            return tensor.detach()
        if node is not None and varies(node):
            raise NotStatic(
                f"Expected a program whose structure no data decide; got {_NUMBERS[func]} of a "
                f"tensor that they do, {where()}. Say it with tensors (torch.where, a mask), or "
                "run it eagerly."
            )
        with disable_proxy_modes_tracing():
            return func(tensor, *args)

    def is_check(self, tensor: Any) -> bool:
        return any(tensor is check for check in self.checks)


_ANY = (torch.any, Tensor.any)
_NUMBERS = {
    Tensor.item: "the number",
    Tensor.tolist: "the numbers",
    Tensor.numpy: "the numbers",
    Tensor.__bool__: "the truth",
    Tensor.__float__: "the number",
    Tensor.__int__: "the number",
    Tensor.__index__: "the number",
}


def recorded(tensor: Tensor) -> Node | None:
    r"""Returns the node of the graph being recorded that a tensor stands for."""
    mode = get_proxy_mode()
    assert mode is not None
    slot = get_proxy_slot(tensor, mode.tracer, None)
    proxy = getattr(slot, "proxy", None)
    return proxy.node if isinstance(proxy, Proxy) else None


def varies(node: Node) -> bool:
    r"""Tells whether an input or a random draw stands behind a node."""
    ahead, seen = [node], set()
    while ahead:
        node = ahead.pop()
        if node.op == "placeholder" or is_random(node):
            return True
        seen.add(node)
        ahead += [other for other in node.all_input_nodes if other not in seen]
    return False


def is_random(node: Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def where() -> str:
    r"""Names the line of the user's program that is running."""
    inside = ("/torch/", "/pyro/", "/pyro_vae/compile/", "<frozen")
    for frame in reversed(traceback.extract_stack()):
        if not any(part in frame.filename for part in inside):
            return f"at {frame.filename}:{frame.lineno}: {frame.line}"
    return "inside Pyro"
