r"""Where do the data lie in latent space?"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data import Split, as_split
from .pure import pure

ROWS_AT_ONCE = 1000


class Encoding(NamedTuple):
    r"""Moments of :math:`q(z \mid x)`, each of shape `(B, latent_dim)`."""

    loc: Tensor
    scale: Tensor


def encode(vae: Any, x: Tensor | np.ndarray | Split, *, seed: int = 0) -> Encoding:
    r"""Returns mean and standard deviation of :math:`q(z \mid x)` for each datum.

    Arguments:
        vae: The VAE.
        x: The data, of shape `(B, *x_shape)`.
        seed: Seeds the bits of data that are binarized at every visit.

    Returns:
        The moments ``loc`` and ``scale``, each of shape `(B, latent_dim)`.
    """
    split = as_split(x)
    locs, scales = [], []
    with pure(vae, seed) as device:
        split = split.to(device)
        for start in range(0, len(split), ROWS_AT_ONCE):
            q = vae.posterior(split.rows(slice(start, start + ROWS_AT_ONCE)))
            locs.append(q.mean)
            scales.append(q.stddev)
    return Encoding(torch.cat(locs), torch.cat(scales))
