r"""Mixtures of round Gaussians in the plane, whose modes a model may lose."""

import math
from pathlib import Path

import torch
from torch import Tensor

from .. import config as kinds
from ..randomness import stream
from .dataset import Dataset, cut
from .split import Split


def ring(config: "kinds.Ring", data_dir: Path | None) -> Dataset:
    r"""Gaussians on a circle; labels are modes."""
    return _drawn(config)


def grid(config: "kinds.Grid", data_dir: Path | None) -> Dataset:
    r"""Gaussians on a square; labels are modes."""
    return _drawn(config)


def centres_of(config: "kinds.Ring | kinds.Grid") -> Tensor:
    r"""Returns the modes of a ring or grid, of shape `(K, 2)`, in double precision.

    Arguments:
        config: The settings of the data, as ``pv.data.ring().config``.

    Example:
        >>> import pyro_vae as pv
        >>> centres_of(pv.config.Grid(side=2, spacing=1)).tolist()
        [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]
    """
    if isinstance(config, kinds.Ring):
        angle = torch.arange(config.num_modes, dtype=torch.double) * (2 * math.pi)
        angle = angle / config.num_modes
        return config.radius * torch.stack([angle.cos(), angle.sin()], 1)
    place = torch.arange(config.side, dtype=torch.double) - (config.side - 1) / 2
    return config.spacing * torch.cartesian_prod(place, place).reshape(-1, 2)


def _drawn(config: "kinds.Ring | kinds.Grid") -> Dataset:
    r"""Rows of an even mixture, by the seed, then split."""
    generator = torch.Generator().manual_seed(stream(config.seed, config.kind))
    centres = centres_of(config)
    modes = torch.randint(len(centres), (config.rows,), generator=generator)
    noise = torch.randn(config.rows, 2, generator=generator, dtype=torch.double)
    whole = Split(centres[modes] + config.sigma * noise, modes, source=config.kind)
    return Dataset.make(config, cut(whole, config.valid, config.test, config.seed))
