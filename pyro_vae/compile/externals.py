r"""What a program reads and writes in addition to its arguments."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class Externals(TorchDispatchMode):
    r"""Watches a program run and keeps the tensors that it met and did not make.

    Those it changes in place are kept as they were, and :func:`restore` puts them back: a run for
    looking leaves no trace in parameters, buffers and running means.

    Example:
        >>> count = torch.zeros(1)
        >>> with Externals() as externals:
        ...     _ = count.add_(1).exp()
        >>> restore(externals.before)
        >>> externals.tensors[0] is count, count
        (True, tensor([0.]))
    """

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[Tensor] = []
        self.made = WeakIdKeyDictionary()
        self.by_storage: dict[int, list[Tensor]] = {}
        self.before: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.ops.aten.lift_fresh.default:  # a literal that is just being made
            for tensor in _tensors((args, kwargs)):
                self.meet(tensor)
        for tensor in _tensors(written(func, args)):
            self.keep(tensor)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            if not self.known(tensor):
                self.made[tensor] = True
        return out

    def meet(self, tensor: Tensor) -> None:
        if tensor not in self.made and not self.known(tensor):
            self.tensors.append(tensor)
            self.by_storage.setdefault(_storage(tensor), []).append(tensor)

    def known(self, tensor: Tensor) -> bool:
        return any(t is tensor for t in self.by_storage.get(_storage(tensor), ()))

    def keep(self, tensor: Tensor) -> None:
        r"""Copies the tensors that share memory with one about to change."""
        for shared in self.by_storage.get(_storage(tensor), ()):
            if not any(t is shared for t, _ in self.before):
                self.before += keep([shared])


def written(func: Any, args: tuple) -> list[Any]:
    r"""Returns the arguments that an operation changes in place."""
    arguments = func._schema.arguments
    hidden = _HIDDEN.get(func, ())
    return [a for i, a in enumerate(args) if arguments[i].is_write or i in hidden]


# Operations that change arguments and do not say so: the running means of batch normalization.
_HIDDEN = {
    torch.ops.aten.native_batch_norm.default: (3, 4),
    torch.ops.aten.cudnn_batch_norm.default: (3, 4),
}


def keep(tensors: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    r"""Copies tensors, for :func:`restore`."""
    return [(tensor, tensor.detach().clone()) for tensor in tensors]


@torch.no_grad()
def restore(kept: Iterable[tuple[Tensor, Tensor]]) -> None:
    r"""Puts tensors back to what they were."""
    for tensor, before in kept:
        tensor.copy_(before)


@contextmanager
def undisturbed_randomness() -> Iterator[None]:
    r"""Puts the random generators back to where they were."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        yield


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else id(tensor)
