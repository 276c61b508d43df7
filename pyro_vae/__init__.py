r"""Variational autoencoders as probabilistic programs in Pyro.

A VAE is three distributional assumptions, p(z), p(x|z) and q(z|x); they are the three arguments
of :class:`VAE`. Names are imported when they are first used, so that ``pyro-vae --help`` need not
wait for torch.
"""

from importlib import import_module
from typing import Any

from .deprecation import MOVED, find_moved

__version__ = "0.2.0"

_MODULES = [
    "base",
    "checks",
    "compile",
    "config",
    "data",
    "debug",
    "distributions",
    "evaluate",
    "exact",
    "flows",
    "gallery",
    "likelihoods",
    "models",
    "nn",
    "objectives",
    "plot",
    "posteriors",
    "priors",
    "programs",
    "report",
    "runs",
    "statistics",
    "views",
]
_HOMES = {
    "CompiledSVI": "compile",
    "Net": "base",
    "Sites": "base",
    "VAE": "models",
    "ais": "evaluate",
    "bdmc": "evaluate",
    "build_vae": "build",
    "diagnose": "evaluate",
    "elbo": "evaluate",
    "encode": "evaluate",
    "explain": "objectives",
    "explain_error": "debug",
    "fit": "train",
    "gap_ledger": "evaluate",
    "impute": "evaluate",
    "inspect_step": "debug",
    "load": "runs",
    "log_marginal": "evaluate",
    "plan": "objectives",
    "rate_distortion_curve": "train",
    "reconstruct": "evaluate",
    "sample": "evaluate",
}

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
