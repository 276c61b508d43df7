r"""Images turned and shifted at random, once."""

from dataclasses import replace
from math import radians

import torch

from ..config import DataKind
from ..nn import moved
from ..randomness import stream
from .split import ROWS_AT_ONCE, Split


def move(split: Split, config: DataKind, name: str) -> Split:
    r"""Returns a split whose images are turned by up to `config.rotate` degrees either way and
    shifted by up to `config.shift` pixels in each direction, uniformly, by `config.seed`. What
    comes in from outside is 0; whole levels stay whole.

    Arguments:
        split: The images.
        config: The settings of the data.
        name: The name of the split, each of which has its own draws.

    Raises:
        ValueError: The data are no images.
    """
    if not config.rotate and not config.shift:
        return split
    if len(split.x_shape) != 3:
        raise ValueError(
            f"Expected images, of shape (C, H, W), for data.rotate and data.shift; got x of shape "
            f"{split.x_shape} in {split.source}."
        )
    generator = torch.Generator().manual_seed(stream(config.seed, "pose", name))
    most = torch.tensor([radians(config.rotate), config.shift, config.shift])
    pose = (2 * torch.rand((len(split), 3), generator=generator) - 1) * most
    parts = []
    for start in range(0, len(split), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        stored = split._stored_rows(rows)
        images = moved(stored.to(pose.dtype), pose[rows], "zeros")
        whole = not stored.is_floating_point()
        parts.append((images.round() if whole else images).to(stored.dtype))
    return replace(split, stored=torch.cat(parts))
