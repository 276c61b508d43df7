r"""Regions of an image as conditions: their pixels leave `x` and are given."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .split import Split

QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
HALVES = ("left", "right", "top", "bottom")


class Picture(NamedTuple):
    r"""Where `x` and what is given lie in an image.

    Attributes:
        shape: The shape `(C, H, W)` of the whole image.
        places: The positions of the pixels of `x`, and of each condition that has pixels, in the
            flattened image.
    """

    shape: tuple[int, ...]
    places: dict[str, Tensor]

    def whole(self, x: Tensor, known: Mapping[str, Any], unit: float = 1.0) -> Tensor:
        r"""Returns images of shape `(B, C, H, W)`, NaN where nothing is known.

        Arguments:
            x: The pixels that are not given, of shape `(B, D)`.
            known: Conditions by name, each one for all images or one for each.
            unit: What given pixels, from 0 to 1, are multiplied by to be on the scale of `x`.
        """
        image = x.new_full((len(x), prod(self.shape)), torch.nan)
        for name, places in self.places.items():
            value = x if name == "x" else known.get(name)
            if value is not None:
                pixels = torch.as_tensor(value).to(x)
                image[:, places.to(x.device)] = pixels if name == "x" else pixels * unit
        return image.reshape(len(x), *self.shape)


def region(words: Sequence[str], height: int, width: int) -> Tensor:
    r"""Returns which pixels are in one of some regions, of shape `(height, width)`.

    Raises:
        ValueError: There is no such region.

    Example:
        >>> region(["left", "top"], 2, 2)
        tensor([[ True,  True],
                [ True, False]])
    """
    inside = torch.zeros(height, width, dtype=torch.bool)
    for word in words:
        if word not in (*QUADRANTS, *HALVES):
            raise ValueError(
                f'Expected data.known as "label" or regions of the image '
                f"({', '.join((*QUADRANTS, *HALVES))}); got {word!r}."
            )
        rows, columns = slice(None), slice(None)
        if "top" in word or "bottom" in word:
            rows = slice(0, height // 2) if "top" in word else slice(height // 2, None)
        if "left" in word or "right" in word:
            columns = slice(0, width // 2) if "left" in word else slice(width // 2, None)
        inside[rows, columns] = True
    return inside


def give_regions(split: Split, known: Mapping[str, Sequence[str]]) -> Split:
    r"""Returns the split with the pixels of regions as conditions, from 0 to 1, and the others as
    `x`, in one dimension. Given pixels are never binarized.

    Arguments:
        split: Images, before they are binarized.
        known: Regions of conditions by name; those that are the label are left alone.

    Raises:
        ValueError: There is no such region, two share a pixel, or no pixel is left.
    """
    words = {name: tuple(some) for name, some in known.items() if tuple(some) != ("label",)}
    if not words or len(split.x_shape) != 3 or split.columns:
        return split
    if not isinstance(split.stored, Tensor):
        raise ValueError(f"Expected images in memory to take regions of; got {split.source}.")
    channels, height, width = split.x_shape
    there = torch.ones(channels * height * width, dtype=torch.bool)
    places: dict[str, Tensor] = {}
    for name, some in words.items():
        inside = region(some, height, width).expand(channels, -1, -1).flatten()
        if bool((inside & ~there).any()):
            raise ValueError(
                f"Expected regions in data.known that share no pixel; got {name} with pixels of "
                "another one."
            )
        there &= ~inside
        places[name] = inside.nonzero()[:, 0]
    if not bool(there.any()):
        raise ValueError("Expected pixels left for x; got all of the image in data.known.")
    flat = split.stored.flatten(1)
    levels = split.levels or 1
    dtype = torch.get_default_dtype()
    given = {name: flat[:, where].to(dtype) / levels for name, where in places.items()}
    places["x"] = there.nonzero()[:, 0]
    picture = Picture(split.x_shape, places)
    return replace(split, stored=flat[:, there], picture=picture).knowing(**given)
