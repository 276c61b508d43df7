r"""Images turned and shifted at random, once or at every visit."""

from collections.abc import Sequence
from dataclasses import replace
from math import radians
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..config import DataKind
from ..nn import moved
from ..randomness import stream

if TYPE_CHECKING:
    from .split import Split


def move(split: "Split", config: DataKind, name: str) -> "Split":
    r"""Returns a split whose images are turned by up to `config.rotate` degrees either way and
    shifted by up to `config.shift` pixels in each direction, uniformly: once, by `config.seed`; or
    those for training anew at every visit, and no others. What comes in from outside is 0; whole
    levels stay whole.

    Arguments:
        split: The images.
        config: The settings of the data.
        name: The name of the split, each of which has its own draws.

    Raises:
        ValueError: The data are no images, or regions are given of images that move at every
            visit.
    """
    if not config.rotate and not config.shift:
        return split
    if len(split.x_shape) != 3:
        raise ValueError(
            f"Expected images, of shape (C, H, W), for data.rotate and data.shift; got x of shape "
            f"{split.x_shape} in {split.source}."
        )
    visit = config.pose == "visit"
    if visit and (given := [n for n, words in config.known.items() if words != ("label",)]):
        raise ValueError(
            f'Expected no region of an image in data.known with data.pose = "visit", as what is '
            f'given would stay where it was; got {", ".join(given)}. Take data.pose = "once".'
        )
    posed = replace(split, pose=(radians(config.rotate), config.shift, config.shift))
    if visit:
        return posed if name == "train" else split
    return moved_once(posed, stream(config.seed, "pose", name))


def moved_once(split: "Split", seed: int) -> "Split":
    r"""Returns a split whose poses are drawn once, by `seed`."""
    draws = torch.rand((len(split), 3), generator=torch.Generator().manual_seed(seed))
    still = replace(split, pose=(), binarize="no", range="levels", holes=None, hole_rate=0.0)
    kept, parts, start = still._stored_rows(slice(0, 1)).dtype, [], 0
    for x in still.chunks():
        u = draws[start : start + len(x)].to(x)
        parts.append(_posed(x, u, split.pose, not kept.is_floating_point).to(kept))
        start += len(x)
    return replace(split, stored=torch.cat(parts), pose=())


def at_random(images: Tensor, most: Sequence[float], whole: bool) -> Tensor:
    r"""Returns images in poses that are drawn from torch's global generator.

    Arguments:
        images: Of shape `(B, C, H, W)`.
        most: The largest angle in radians, and shifts in pixels, to the right and downwards.
        whole: Whether values are whole numbers, which they stay.
    """
    u = torch.rand((len(images), 3), dtype=images.dtype, device=images.device)
    return _posed(images, u, most, whole)


def _posed(images: Tensor, u: Tensor, most: Sequence[float], whole: bool) -> Tensor:
    x = moved(images, (2 * u - 1) * u.new_tensor(most), "zeros")
    return x.round() if whole else x
