r"""Do data and model fit each other? Asked once, before training and evaluation."""

from math import isfinite
from typing import Any

import pyro
import torch
from torch import Tensor

from ..data import Split, check
from ..objectives.base import weigh
from .pure import pure


def check_data(vae: Any, split: Split) -> None:
    r"""Checks every datum against the model: its shape, and the support of the likelihood.

    Data that may have holes are checked here alone: Pyro's own check knows no missing elements.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support.
    """
    with pure(vae, 0) as device:
        expected = tuple(vae.model(batch_size=1).shape[1:])
        if expected != tuple(split.x_shape):
            raise ValueError(
                f"Expected x of shape (N, {', '.join(map(str, expected))}), as the likelihood's "
                f"event shape says; got (N, {', '.join(map(str, split.x_shape))}) in "
                f"{split.source}."
            )
        likelihood = vae.likelihood
        check(split, likelihood.support, type(likelihood).__name__, likelihood.missing)
        rows = split.to(device).rows(slice(0, 2))
        index = torch.arange(len(rows), device=device)
        with pyro.validation_enabled(not likelihood.missing):  # Pyro's own checks, once
            weights = weigh(vae.model, vae.guide, rows, 1, index=index)
    bound = float(weights.log_weights.mean())
    if not isfinite(bound):
        raise ValueError(
            f"Expected a finite ELBO at the start; got {bound} nats per datum on the "
            f"first rows of {split.source}. Check the scale of the data and the initial weights."
        )


def check_rows(vae: Any, index: Tensor | None) -> None:
    r"""Refuses data without row numbers where the posterior has parameters by row."""
    posterior = getattr(vae, "posterior", None)
    if index is None and getattr(posterior, "index", False):
        raise ValueError(
            f"Expected row numbers of training data, for which alone {type(posterior).__name__} "
            "has parameters; got none. Give index=, or evaluate the training data."
        )
