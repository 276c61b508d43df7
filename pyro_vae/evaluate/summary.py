r"""The figures of a trained model on a data set, with units and errors."""

import time
from math import log, prod, sqrt
from typing import Any

from torch import Tensor

from ..data import Split
from .importance import elbo, log_marginal


def evaluate(
    vae: Any,
    split: Split,
    num_samples: int = 500,
    *,
    index: Tensor | None = None,
    seed: int = 0,
) -> dict[str, float | int | str]:
    r"""Evaluates a VAE on a data set.

    Arguments:
        vae: The VAE.
        split: The data, in full: one image differs from another by some 30 nats, so a subset
            says little.
        num_samples: The number of importance samples per datum.
        index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.
        seed: Seeds the samples.

    Returns:
        Means over data in nats per datum. ``*_se`` is the standard deviation over data divided
        by :math:`\sqrt{N}`; ``*_mc_se`` is the Monte Carlo error of the mean. ``bits_per_dim`` is
        :math:`-\log p(x) / (D \log 2)`, present where `x` is discrete.
    """
    start = time.perf_counter()
    count = len(split)
    bound = elbo(vae, split, min(10, num_samples), index=index, seed=seed)
    marginal = log_marginal(vae, split, num_samples, index=index, seed=seed)
    figures: dict[str, float | int | str] = {
        "num_data": count,
        "elbo": float(bound.mean()),
        "elbo_se": _se(bound),
        "log_marginal": float(marginal.log_marginal.mean()),
        "log_marginal_se": _se(marginal.log_marginal),
        "log_marginal_mc_se": float(marginal.mc_se.square().sum().sqrt()) / count,
        "num_importance_samples": num_samples,
        "ess_median": float(marginal.ess.median()),
    }
    if vae.likelihood.support.is_discrete:
        nats = -float(marginal.log_marginal.mean())
        figures["bits_per_dim"] = nats / (prod(split.x_shape) * log(2))
    return {**figures, "seconds": time.perf_counter() - start}


def _se(values: Any) -> float:
    return float(values.std()) / sqrt(len(values)) if len(values) > 1 else float("nan")
