r"""Where do the data lie in latent space?"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data import Split
from ..programs import undisturbed
from .checks import check_rows, take

ROWS_AT_ONCE = 1000
NUM_SAMPLES = 256


class Encoding(NamedTuple):
    r"""Moments of :math:`q(z \mid x)`, each of shape `(B, latent_dim)`."""

    loc: Tensor
    scale: Tensor


def encode(
    vae: Any, x: Tensor | np.ndarray | Split, *, index: Tensor | None = None, seed: int = 0
) -> Encoding:
    r"""Returns mean and standard deviation of :math:`q(z \mid x)` for each datum.

    Where they have no closed form, as in flows, they are those of 256 samples.

    Arguments:
        vae: The VAE.
        x: The data, of shape `(B, *x_shape)`.
        index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.
        seed: Seeds those samples, and the bits of data that are binarized at every visit.

    Returns:
        The moments ``loc`` and ``scale``, each of shape `(B, latent_dim)`.
    """
    check_rows(vae, index)
    split = take(vae, x, index)
    locs, scales = [], []
    with undisturbed(vae, seed) as device:
        for start in range(0, len(split), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            x = split.rows(rows)
            known = () if index is None else (index[rows].to(device),)
            loc, scale = moments(vae.posterior(x, *known))
            locs.append(loc)
            scales.append(scale)
    return Encoding(torch.cat(locs), torch.cat(scales))


def moments(q: Any) -> tuple[Tensor, Tensor]:
    r"""Mean and standard deviation of a distribution, from samples where it has none."""
    try:
        return q.mean, q.stddev
    except NotImplementedError:
        z = q.sample((NUM_SAMPLES,))
        return z.mean(0), z.std(0)
