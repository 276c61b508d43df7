r"""Variational autoencoders as probabilistic programs in Pyro.

A VAE is three distributional assumptions, p(z), p(x|z) and q(z|x); they are the three arguments
of :class:`VAE`. Names are imported when they are first used, so that ``pyro-vae --help`` need not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see
    from . import base as base
    from . import compile as compile
    from . import config as config
    from . import data as data
    from . import distributions as distributions
    from . import evaluate as evaluate
    from . import exact as exact
    from . import likelihoods as likelihoods
    from . import models as models
    from . import nn as nn
    from . import objectives as objectives
    from . import plot as plot
    from . import posteriors as posteriors
    from . import priors as priors
    from . import programs as programs
    from . import report as report
    from .base import Net as Net
    from .base import Sites as Sites
    from .build import build_vae as build_vae
    from .checkpoint import load as load
    from .compile import CompiledSVI as CompiledSVI
    from .evaluate import ais as ais
    from .evaluate import bdmc as bdmc
    from .evaluate import diagnose as diagnose
    from .evaluate import elbo as elbo
    from .evaluate import encode as encode
    from .evaluate import gap_ledger as gap_ledger
    from .evaluate import impute as impute
    from .evaluate import log_marginal as log_marginal
    from .evaluate import reconstruct as reconstruct
    from .evaluate import sample as sample
    from .microscope import explain_error as explain_error
    from .microscope import inspect_step as inspect_step
    from .models import VAE as VAE
    from .objectives import explain as explain
    from .objectives import plan as plan
    from .train import fit as fit
    from .train import rate_distortion_curve as rate_distortion_curve

__version__ = "0.1.0"

_MODULES = [
    "base",
    "compile",
    "config",
    "data",
    "distributions",
    "evaluate",
    "exact",
    "likelihoods",
    "models",
    "nn",
    "objectives",
    "plot",
    "posteriors",
    "priors",
    "programs",
    "report",
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
    "explain_error": "microscope",
    "fit": "train",
    "gap_ledger": "evaluate",
    "impute": "evaluate",
    "inspect_step": "microscope",
    "load": "checkpoint",
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
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
