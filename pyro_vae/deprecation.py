r"""Old names, which work for one release with a warning that says the new one. Torch-free."""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED: dict[str, str] = {
    "pyro_vae.microscope": "pyro_vae.debug",
    "pyro_vae.mistakes": "pyro_vae.debug.mistakes",
    "pyro_vae.mistakes.case": "pyro_vae.debug.case",
    "pyro_vae.mistakes.data": "pyro_vae.debug.data",
    "pyro_vae.mistakes.failures": "pyro_vae.debug.programs",
    "pyro_vae.mistakes.sites": "pyro_vae.debug.sites",
    "pyro_vae.mistakes.values": "pyro_vae.debug.values",
    "pyro_vae.mistakes.words": "pyro_vae.debug.words",
}
r"""Modules that have moved: the old dotted name, and the new one."""


def warn(old: str, new: str, stacklevel: int = 3) -> None:
    r"""Warns that `old` is now `new`."""
    warnings.warn(f"{old} is now {new}.", DeprecationWarning, stacklevel=stacklevel)


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    r"""Returns the ``__getattr__`` of a module some of whose names have changed.

    Arguments:
        module: The name of the module.
        names: The new name by the old one; one with a dot is that of another module's attribute,
            as in ``"pyro_vae.runs.load"``.
    """

    def getattr_(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        home = home or module
        warn(f"{module}.{name}", f"{home}.{new}")
        return getattr(import_module(home), new)

    return getattr_


def renamed_arguments(**names: str) -> Callable[[Any], Any]:
    r"""Decorates a function some of whose keywords have changed, given as ``old="new"``."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in names.keys() & kwargs.keys():
                warn(f"{old}= of {function.__name__}", f"{names[old]}=")
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


class _Finder(MetaPathFinder, Loader):
    r"""Finds modules under their old names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        new = MOVED[module.__name__]
        warn(module.__name__, new, stacklevel=2)
        found = vars(import_module(new))
        vars(module).update({k: v for k, v in found.items() if not k.startswith("__")})
        vars(module).update({k: found[k] for k in ("__all__", "__getattr__") if k in found})


def find_moved() -> None:
    r"""Makes modules importable under their old names."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
