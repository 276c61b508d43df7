r"""Variational autoencoders as probabilistic programs in Pyro.

A VAE is three distributional assumptions, p(z), p(x|z) and q(z|x); they are the three arguments
of :class:`VAE`. Names are imported when they are first used, so that ``pyro-vae --help`` need not
wait for torch.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from .deprecation import MOVED, find_moved

__version__ = "0.2.0"

_INSIDE = {"__main__", "build", "cli", "counted", "deprecation", "precision", "randomness"}
_INSIDE |= {"registration", "remembered", "train", "transforms", "writing"}
_MODULES = sorted({m.name for m in iter_modules(__path__)} - _INSIDE)
_NAMES = {
    "base": ("Net", "Sites"),
    "build": ("build_vae",),
    "compile": ("SVI", "CompiledSVI"),
    "debug": ("explain_error", "inspect_step"),
    "estimator": ("VAEEstimator",),
    "evaluate": ("ais", "bdmc", "diagnose", "elbo", "gap_ledger", "log_marginal"),
    "models": ("VAE",),
    "objectives": ("explain", "plan"),
    "runs": ("load", "save"),
    "train": ("fit", "fit_many", "rate_distortion_curve", "refit_prior", "tune"),
    "views": ("encode", "impute", "interpolate", "reconstruct", "sample"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}

__all__ = sorted([*_MODULES, *_HOMES])


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES or f"{__name__}.{name}" in MOVED:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


find_moved()
