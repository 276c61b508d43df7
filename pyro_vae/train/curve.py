r"""Rate against distortion at several weights of the KL term."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..counted import counted
from ..data import Split
from ..evaluate import Rate, rate_distortion
from .fit import fit


@counted
def rate_distortion_curve(
    vae: Any,
    train: Tensor | np.ndarray | Split,
    test: Tensor | np.ndarray | Split,
    kl_weights: Sequence[float] = (0.1, 0.3, 1.0, 3.0, 10.0),
    *,
    epochs: int = 10,
    num_samples: int = 10,
    seed: int = 0,
    **options: Any,
) -> dict[float, Rate]:
    r"""Measures rate and distortion at several KL weights, each continuing from the one before.

    The given model is not changed: a copy is trained at the weights in the given order.

    References:
        | Fixing a Broken ELBO (Alemi et al., 2018), Sec. 3 and Fig. 2
        | https://arxiv.org/abs/1711.00464

    Arguments:
        vae: A trained VAE.
        train: The training data.
        test: The data on which rate and distortion are measured.
        kl_weights: The weights of the KL term.
        epochs: The epochs of training at each weight.
        num_samples: The samples per datum for measuring rate and distortion.
        seed: Seeds everything.
        options: Other settings of :func:`pyro_vae.fit`.

    Returns:
        Rate and distortion at each KL weight, in nats per datum.
    """
    model, curve = deepcopy(vae), {}
    for weight in kl_weights:
        options = {"progress": False, **options}
        fit(model, train, seed=seed, epochs=epochs, kl_weight=weight, **options)
        with torch.no_grad():
            curve[weight] = rate_distortion(model, test, num_samples, seed=seed)
    return curve
