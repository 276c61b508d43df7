r"""Do data and model fit each other? Asked once, before training and evaluation."""

from typing import Any

import pyro
import torch

from ..data import Split, check
from ..objectives import ELBO
from .pure import pure


def check_data(vae: Any, split: Split) -> None:
    r"""Checks every datum against the model: its shape, and the support of the likelihood.

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
        check(split, vae.likelihood.support, type(vae.likelihood).__name__)
        rows = split.to(device).rows(slice(0, 2))
        with pyro.validation_enabled(True):  # Pyro's own checks of the programs, once
            terms = ELBO()(vae.model, vae.guide, rows)
    if not torch.isfinite(terms.loss):
        raise ValueError(
            f"Expected a finite ELBO at the start; got {float(-terms.loss)} nats per datum on the "
            f"first rows of {split.source}. Check the scale of the data and the initial weights."
        )
