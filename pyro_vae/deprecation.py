r"""Old names, which work for one release with a warning that names the new one; without torch."""

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

MOVED: dict[str, str] = {
    "pyro_vae.checkpoint": "pyro_vae.runs",
    "pyro_vae.checkpoint.folder": "pyro_vae.runs.folder",
    "pyro_vae.checkpoint.state": "pyro_vae.runs.state",
    "pyro_vae.checkpoint.storage": "pyro_vae.runs.storage",
    "pyro_vae.train.terminal": "pyro_vae.train.progress",
    "pyro_vae.evaluate.checks": "pyro_vae.checks",
    "pyro_vae.evaluate.classical": "pyro_vae.gallery.classical",
    "pyro_vae.evaluate.compare": "pyro_vae.evaluate.comparison",
    "pyro_vae.evaluate.coordinates": "pyro_vae.programs.listed",
    "pyro_vae.evaluate.export": "pyro_vae.views.export",
    "pyro_vae.evaluate.free": "pyro_vae.evaluate.optima",
    "pyro_vae.evaluate.generate": "pyro_vae.views.generated",
    "pyro_vae.evaluate.gold": "pyro_vae.evaluate.nuts",
    "pyro_vae.evaluate.gradients": "pyro_vae.evaluate.gradient_noise",
    "pyro_vae.evaluate.imputation": "pyro_vae.views.imputation",
    "pyro_vae.evaluate.interval": "pyro_vae.statistics",
    "pyro_vae.evaluate.latent": "pyro_vae.views.latent",
    "pyro_vae.evaluate.listed": "pyro_vae.programs.listed",
    "pyro_vae.evaluate.pareto": "pyro_vae.statistics",
    "pyro_vae.evaluate.sbc": "pyro_vae.evaluate.calibration",
    "pyro_vae.evaluate.staged": "pyro_vae.compile.cache",
    "pyro_vae.evaluate.trust": "pyro_vae.evaluate.reliability",
    "pyro_vae.evaluate.units": "pyro_vae.checks.units",
    "pyro_vae.microscope": "pyro_vae.debug",
    "pyro_vae.mistakes": "pyro_vae.debug.mistakes",
    "pyro_vae.mistakes.case": "pyro_vae.debug.case",
    "pyro_vae.mistakes.data": "pyro_vae.debug.data",
    "pyro_vae.mistakes.failures": "pyro_vae.debug.programs",
    "pyro_vae.mistakes.sites": "pyro_vae.debug.sites",
    "pyro_vae.mistakes.values": "pyro_vae.debug.values",
    "pyro_vae.mistakes.words": "pyro_vae.debug.words",
}
r"""Modules that have moved: the new dotted name by the old one."""


def warn(old: str, new: str, stacklevel: int = 3) -> None:
    r"""Warns that `old` is now `new`."""
    warnings.warn(f"{old} is now {new}.", DeprecationWarning, stacklevel=stacklevel)


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    r"""Returns a module's ``__getattr__`` that resolves old names.

    Arguments:
        module: The name of the module.
        names: The new names by the old ones; a name with a dot is in another module, as in
            ``"pyro_vae.runs.load"``.
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
    r"""Decorates a function that accepts old keywords, given as ``old="new"``."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old in names.keys() & kwargs.keys():
                warn(f"{old}= of {function.__name__}", f"{names[old]}=")
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_attributes(**names: str) -> Callable[[type[T]], type[T]]:
    r"""Decorates a class that has attributes under old names, given as ``old="new"``; a new name
    may contain a dot, as in ``rate_se="rate.se"``."""

    def decorate(cls: type[T]) -> type[T]:
        for old, new in names.items():

            def read(self: Any, old: str = old, new: str = new) -> Any:
                warn(f"{type(self).__name__}.{old}", f"{type(self).__name__}.{new}")
                return attrgetter(new)(self)

            setattr(cls, old, property(read))
        return cls

    return decorate


class RenamedKeys(dict[str, Any]):
    r"""Creates a dict that can also be read by old keys, with a warning.

    Arguments:
        values: The values by their new keys.
        names: The new keys by the old ones.
    """

    def __init__(self, values: Mapping[str, Any], **names: str) -> None:
        super().__init__(values)
        self.names = names

    def __missing__(self, key: str) -> Any:
        if key not in self.names:
            raise KeyError(key)
        warn(f"The key {key!r}", repr(self.names[key]))
        return self[self.names[key]]


class _Moved(ModuleType):
    r"""A module under its old name, which may also be the name of a function in the package."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Finder(MetaPathFinder, Loader):
    r"""Finds modules under their old names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        new, module.__class__ = MOVED[module.__name__], _Moved
        warn(module.__name__, new, stacklevel=2)
        found = vars(import_module(new))
        vars(module).update({k: v for k, v in found.items() if not k.startswith("__")})
        vars(module).update({k: found[k] for k in ("__all__", "__getattr__") if k in found})


def find_moved() -> None:
    r"""Makes modules importable under their old names."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
