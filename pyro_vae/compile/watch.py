r"""What Python held when a program was recorded, and whether it is still so."""

from collections.abc import Hashable, Iterable, Sequence
from operator import is_
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.utils._device import DeviceContext
from torch.utils.hooks import RemovableHandle

from .conditions import SIMPLE, Condition, Place


class State(Condition):
    r"""A condition on tensors, Pyro's store, and what is switched on around a step."""

    def add_gradients(self, tensors: Sequence[Tensor]) -> None:
        self.terms += [f"{self.name(t)}.requires_grad is {t.requires_grad}" for t in tensors]

    def add_addresses(self, tensors: Sequence[Tensor]) -> None:
        self.terms += [f"{self.name(t)}.data_ptr() == {t.data_ptr()}" for t in tensors]

    def add_modules(self, modules: Sequence[nn.Module]) -> None:
        r"""Adds that modules have as many parts, and the methods of their class."""
        for module in modules:
            own = self.name(module.__dict__)
            self.terms.append(f"'forward' {'in' if 'forward' in vars(module) else 'not in'} {own}")
            if module._modules:
                self.terms.append(f"len({own}['_modules']) == {len(module._modules)}")

    def add_store(self, store: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
        r"""Adds that Pyro's store holds these tensors."""
        of, kept = self.name(pyro.get_param_store()), self.name(store)
        self.terms.append(f"{of}._params is {kept}")
        self.terms += [f"{kept}[{n!r}] is {self.name(t)}" for n, t in expected.items()]

    def add_surroundings(self) -> None:
        r"""Adds what is switched on around a step."""
        self.terms += [f"{self.name(ask)}() == {ask()!r}" for ask in _AROUND]
        if devices := _devices():
            self.terms.append(f"{self.name(_devices)}() == {self.name(devices)}")
        self.terms.append(f"{self.name(torch.get_default_dtype)}() is {torch.get_default_dtype()}")
        self.names["torch"] = torch
        self.terms.append(f"len({self.name(pyro.poutine.runtime._PYRO_STACK)}) == 0")


class Watch:
    r"""Creates a watch over what a program read from Python.

    Arguments:
        places: Where it read, with what it found there.
        modules: The modules that it called.
        met: The tensors that it met.
    """

    def __init__(
        self,
        places: Sequence[tuple[Place, Any]],
        modules: Sequence[nn.Module],
        met: Sequence[Tensor],
    ) -> None:
        self.places, self.modules = [where for where, _ in places], modules
        store, ids = _params(), {id(tensor) for tensor in met}
        self.stored = {name: tensor for name, tensor in store.items() if id(tensor) in ids}
        values = [*self.stored.values(), *(value for _, value in places)]
        tensors = {id(v): v for v in values if isinstance(v, Tensor) and v.layout == torch.strided}
        self.tensors = list(tensors.values())
        self.forms = [_form(tensor) for tensor in self.tensors]
        self.same, self.still = State(places), State()
        self.same.add_gradients(self.tensors)
        self.same.add_store(store, self.stored)
        self.same.add_surroundings()
        self.same.add_modules(modules)
        self.still.add_addresses(self.tensors)
        self.hooks, self.hooked = RemovableHandle.next_id, self.all_hooks()

    def holds(self) -> bool:
        r"""Tells whether all is as it was when the program was recorded."""
        if not self.same.holds():
            return False
        return (self.still.check() or self.moved_alike()) and (
            (self.hooks == RemovableHandle.next_id and not self.hooked) or self.same_hooks()
        )

    def moved_alike(self) -> bool:
        r"""Tells whether tensors have the form that they had, though other memory."""
        if [*map(_form, self.tensors)] != self.forms:
            return False
        self.still = State()
        self.still.add_addresses(self.tensors)
        return True

    def all_hooks(self) -> list[Any]:
        r"""Returns the hooks on modules and tensors."""
        owners: Iterable[Any] = [*self.modules, *self.tensors, nn.modules.module]
        found = []
        for owner in owners:
            for name in _HOOKS:
                hooks = getattr(owner, name, None)
                found += list(hooks.values()) if hooks else []
        return found

    def same_hooks(self) -> bool:
        hooks = self.all_hooks()
        if len(hooks) != len(self.hooked) or not all(map(is_, hooks, self.hooked)):
            return False
        self.hooks = RemovableHandle.next_id
        return True

    def now(self) -> Hashable:
        r"""Names what is now at the watched places, to know it again."""
        seen = [where.get() for where in self.places]
        seen += [*map(_params().get, self.stored), *self.all_hooks(), torch.get_default_dtype()]
        seen += [(*_form(tensor), tensor.requires_grad) for tensor in self.tensors]
        return tuple(map(_named, seen))


_AROUND = (
    torch._C._is_any_autocast_enabled,
    torch._C._len_torch_function_stack,
    torch._C._len_torch_dispatch_stack,
)


def is_alone() -> bool:
    r"""Tells whether no handler of Pyro, autocast or mode of PyTorch is at work around a step, but
    for default devices."""
    return not (
        pyro.poutine.runtime._PYRO_STACK
        or torch._C._is_any_autocast_enabled()  # it keeps copies of weights while it is on
        or None in _devices()
        or torch._C._len_torch_dispatch_stack()
    )


def _devices() -> tuple[torch.device | None, ...]:
    r"""The devices that are defaults, one within the other; None for a mode of another kind."""
    modes = map(torch._C._get_function_stack_at, range(torch._C._len_torch_function_stack()))
    return tuple(m.device if type(m) is DeviceContext else None for m in modes)


def _params() -> dict[str, Tensor]:
    return pyro.get_param_store()._params


_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_post_accumulate_grad_hooks",
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


def _form(tensor: Tensor) -> tuple:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _named(value: Any) -> Hashable:
    return value if isinstance(value, (*SIMPLE, tuple)) else id(value)
