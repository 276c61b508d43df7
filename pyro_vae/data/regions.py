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


def places_of(
    part: Sequence[int | str], x_shape: Sequence[int], names: Sequence[str] = ()
) -> list[int]:
    r"""Returns the positions of a part of `x` in the flattened datum.

    Arguments:
        part: Regions of an image, columns of a table, or positions.
        x_shape: The shape of a datum.
        names: The names of the columns.

    Raises:
        ValueError: There is no such region, column or position.

    Example:
        >>> places_of(["left"], (1, 2, 2)), places_of([0, "b"], (3,), ["a", "b", "c"])
        ([0, 2], [0, 1])
    """
    image, size = len(x_shape) == 3, prod(x_shape)
    known = (*QUADRANTS, *HALVES) if image else (*names,)
    inside = torch.zeros(size, dtype=torch.bool)
    for word in part:
        if word not in known if isinstance(word, str) else not 0 <= word < size:
            what = "regions of the image" if image else "columns"
            listing = ", ".join(known[:20]) or "without names"
            raise ValueError(
                f"Expected {what} ({listing}) or positions from 0 to {size - 1}; got {word!r}."
            )
        if isinstance(word, str) and image:
            pixels = region([word], x_shape[1], x_shape[2])
            inside |= pixels.expand(x_shape[0], -1, -1).flatten()
        else:
            inside[names.index(word) if isinstance(word, str) else word] = True
    return [int(place) for place in inside.nonzero()[:, 0]]


def elements_of(split: Split, part: str | Sequence[str | int] | Tensor) -> Tensor:
    r"""Returns which elements of `x` are in a part of it, of shape `x_shape`.

    Arguments:
        split: The data.
        part: Regions of an image; columns of a table, by name or number; or bools of `x_shape`.

    Raises:
        ValueError: There is no such part, or it is nothing or all of `x`.
    """
    if isinstance(part, Tensor):
        if part.dtype != torch.bool or tuple(part.shape) != split.x_shape:
            raise ValueError(
                f"Expected bools of shape {split.x_shape}, which elements of x are given; got "
                f"{part.dtype} of shape {tuple(part.shape)}."
            )
        inside = part
    else:
        names = [column.name for column in split.columns]
        inside = torch.zeros(prod(split.x_shape), dtype=torch.bool)
        words = [part] if isinstance(part, str) else part
        inside[places_of(words, split.x_shape, names)] = True
        inside = inside.reshape(split.x_shape)
    if not bool(inside.any()) or bool(inside.all()):
        amount = "all" if bool(inside.all()) else "nothing"
        raise ValueError(f"Expected a part of x, and a rest; got {amount} of it.")
    return inside


def only(split: Split, inside: Tensor) -> Split:
    r"""Returns the data with NaN in the elements that are not `inside`, of shape `x_shape`."""
    x = torch.cat([*split.chunks()])
    stored = torch.where(inside.to(x.device), x, torch.nan)
    return replace(split, stored=stored, binarize="no", levels=None, checked="")


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
