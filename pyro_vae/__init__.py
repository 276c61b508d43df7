r"""Variational autoencoders as probabilistic programs in Pyro.

A VAE is three distributional assumptions, p(z), p(x|z) and q(z|x); they are the three arguments
of :class:`VAE`. Names are imported when they are first used, so that ``pyro-vae --help`` need not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import (
        config,
        data,
        distributions,
        evaluate,
        likelihoods,
        models,
        nn,
        objectives,
        plot,
        posteriors,
        priors,
    )
    from .build import build_vae
    from .checkpoint import load
    from .evaluate import elbo, encode, log_marginal, reconstruct, sample
    from .models import VAE
    from .train import History, fit

_HOMES = {
    "VAE": "models",
    "History": "train",
    "build_vae": "build",
    "elbo": "evaluate",
    "encode": "evaluate",
    "fit": "train",
    "load": "checkpoint",
    "log_marginal": "evaluate",
    "reconstruct": "evaluate",
    "sample": "evaluate",
}
_MODULES = (
    "config",
    "data",
    "distributions",
    "evaluate",
    "likelihoods",
    "models",
    "nn",
    "objectives",
    "plot",
    "posteriors",
    "priors",
)

__all__ = [
    "VAE",
    "History",
    "build_vae",
    "config",
    "data",
    "distributions",
    "elbo",
    "encode",
    "evaluate",
    "fit",
    "likelihoods",
    "load",
    "log_marginal",
    "models",
    "nn",
    "objectives",
    "plot",
    "posteriors",
    "priors",
    "reconstruct",
    "sample",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
