r"""What a program reads and writes in addition to its arguments."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from .draws import Draws


class Externals(TorchDispatchMode):
    r"""Watches a program run and keeps the tensors that it met and did not make.

    Those it changes in place are kept as they were, and :func:`restore` puts them back: a run for
    looking leaves no trace in parameters, buffers, gradients and running means.

    Arguments:
        arrays: Arrays of numpy that the program gets.
        draws: Runs the random draws, if they are to be followed.

    Attributes:
        tensors: What it met.
        shared: Which of the arrays share memory with what it met.
        before: What it changed, with a copy of each from before.
        operations: How many operations there were.

    Example:
        >>> count = torch.zeros(1)
        >>> with Externals() as externals:
        ...     _ = count.add_(1).exp()
        >>> externals.restore()
        >>> externals.tensors[0] is count, count
        (True, tensor([0.]))
    """

    def __init__(self, arrays: Sequence[np.ndarray] = (), draws: Draws | None = None) -> None:
        super().__init__()
        self.arrays = [(a.ctypes.data, a.ctypes.data + a.nbytes) for a in arrays]
        self.shared: set[int] = set()
        self.tensors: list[Tensor] = []
        self.made = WeakIdKeyDictionary()
        self.by_storage: dict[int, list[Tensor]] = {}
        self.before: list[tuple[Tensor, Tensor]] = []
        self.storages: list[tuple[Tensor, Tensor]] = []
        self.gradients: list[tuple[Tensor, Tensor | None]] = []
        self.draws = draws
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.operations += 1
        if func is not torch.ops.aten.lift_fresh.default:  # a literal that is just being made
            for tensor in _tensors((args, kwargs)):
                self.meet(tensor)
        for tensor in _tensors(written(func, args, kwargs)):
            self.keep(tensor)
        if self.draws is not None and torch.Tag.nondeterministic_seeded in func.tags:
            out = self.draws(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        for tensor in _tensors(out):
            if not self.known(tensor):
                self.made[tensor] = True
        return out

    def meet(self, tensor: Tensor) -> None:
        if tensor not in self.made and not self.known(tensor):
            self.tensors.append(tensor)
            self.by_storage.setdefault(_storage(tensor), []).append(tensor)
            self.storages.append((tensor, tensor.data))
            if self.arrays and tensor.layout == torch.strided and tensor.device.type == "cpu":
                address = tensor.data_ptr()
                self.shared |= {i for i, (a, b) in enumerate(self.arrays) if a <= address < b}
            if tensor.requires_grad and tensor.is_leaf:
                self.gradients.append((tensor, tensor.grad))

    def known(self, tensor: Tensor) -> bool:
        return any(t is tensor for t in self.by_storage.get(_storage(tensor), ()))

    def keep(self, tensor: Tensor) -> None:
        r"""Copies the tensors that share memory with one about to change."""
        for shared in self.by_storage.get(_storage(tensor), ()):
            if not any(t is shared for t, _ in self.before):
                self.before += keep([shared])

    def replaced(self) -> list[Tensor]:
        r"""Returns the tensors whose memory the program has exchanged for another."""
        return [tensor for tensor, old in self.storages if _storage(tensor) != _storage(old)]

    def restore(self) -> None:
        r"""Puts tensors, gradients and generators back to what they were."""
        for tensor, old in reversed(self.storages):  # one may be met with each memory it had
            if _storage(tensor) != _storage(old):
                tensor.data = old
        restore(self.before)
        for tensor, gradient in self.gradients:
            tensor.grad = gradient
        if self.draws is not None:
            self.draws.restore()


def written(func: Any, args: tuple, kwargs: dict[str, Any]) -> list[Any]:
    r"""Returns the arguments that an operation changes in place."""
    arguments = func._schema.arguments
    hidden = _HIDDEN.get(func, ())
    found = [a for i, a in enumerate(args) if arguments[i].is_write or i in hidden]
    return found + [kwargs[a.name] for a in arguments if a.is_write and a.name in kwargs]


# Operations that change arguments and do not say so: the running means of batch normalization.
_HIDDEN = {
    torch.ops.aten.native_batch_norm.default: (3, 4),
    torch.ops.aten.cudnn_batch_norm.default: (3, 4),
}


def keep(tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    r"""Copies tensors, for :func:`restore`."""
    whole = (tensor for tensor in tensors if torch._debug_has_internal_overlap(tensor) != 1)
    return [(tensor, tensor.detach().clone()) for tensor in whole]  # others cannot be written


@torch.no_grad()
def restore(kept: Iterable[tuple[Tensor, Tensor]]) -> None:
    r"""Puts tensors back to what they were."""
    for tensor, before in kept:
        tensor.copy_(before)


@contextmanager
def undisturbed_randomness(own: Iterable[Generator] = ()) -> Iterator[None]:
    r"""Puts the random generators back to where they were, and those of a program's own."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    states = [(generator, generator.get_state()) for generator in own]
    with torch.random.fork_rng(devices):
        yield
    for generator, state in states:
        generator.set_state(state)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)
