r"""Grey levels: the highest one, and whether x is divided by it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..config import File
from .split import Split

DEPTHS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
FEW_LEVELS = 16


def find_range(splits: dict[str, Split], config: File, facts: list[str]) -> str:
    r"""Returns the range of grey levels; sets the highest one in the splits."""
    levels = [split.levels for split in splits.values()]
    first = next(iter(splits.values()))
    if None in levels:
        return "levels" if config.range == "auto" else config.range
    highest = max(level for level in levels if level is not None)
    dtype = first.stored.dtype
    eight = dtype in (torch.uint8, np.dtype(np.uint8))
    images = eight or len(first.x_shape) > 1
    if eight and highest > FEW_LEVELS:
        highest = 255
    elif images and highest > 255:
        highest = next((depth for depth in DEPTHS if depth >= highest), highest)
    for name, split in splits.items():
        splits[name] = replace(split, levels=highest)
    found = config.range
    if found == "auto":
        found = "unit" if images else "levels"
    if highest == 1:
        facts.append("bits")
    elif config.binarize != "no":
        facts.append(f"grey levels 0..{highest} become bits ({config.binarize})")
    elif found == "unit":
        facts.append(
            f"grey levels 0..{highest} are divided by {highest} (--data.range levels keeps them)"
        )
    else:
        facts.append(
            f"whole numbers 0..{highest} are not divided (--data.range unit divides by {highest})"
        )
    return found


def as_trained(split: Split, form: Mapping[str, Any], config: File, facts: list[str]) -> Split:
    r"""A split with the grey levels of the training data."""
    highest = form["levels"]
    divided = highest and highest > 1 and (form["range"] == "unit" or config.binarize != "no")
    if split.levels is None and divided and not isinstance(split.stored, np.memmap):
        return _levels_of(split, highest, facts)
    if split.levels is not None and highest is None:
        if split.stored.dtype in (torch.uint8, np.dtype(np.uint8)) and split.levels > 1:
            raise ValueError(
                f"Expected real numbers, as in training; got bytes up to {split.levels} in "
                f"{split.source}. Convert them to the units of the training data first (divide "
                "by 255 if those were 0..1), and save real numbers."
            )
        facts.append("whole numbers are read as real numbers, unchanged")
        return split
    if split.levels is None or highest is None:
        return split
    kept = form["range"] == "levels" and config.binarize == "no"
    if split.levels > form["levels"] and not kept:
        raise ValueError(
            f"Expected whole numbers up to {form['levels']}, as in training; got {split.levels} "
            f"in {split.source}."
        )
    return replace(split, levels=highest)


def _levels_of(split: Split, highest: int, facts: list[str]) -> Split:
    r"""Reads real numbers as grey levels, or as fractions if training divided its grey levels."""
    x = split.stored
    there = x[x.isfinite()]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 0.0)
    if low >= 0 and high <= 1:
        facts.append(f"numbers from 0 to 1 are read as grey levels divided by {highest}")
        return split
    if low >= 0 and high <= highest and bool((x == x.round()).all()):
        facts.append(f"grey levels 0..{highest} are divided by {highest}, as in training")
        return replace(split, stored=x.to(torch.int64), levels=highest)
    raise ValueError(
        f"Expected grey levels 0..{highest}, as in training, or numbers from 0 to 1; got values "
        f"from {low:g} to {high:g} in {split.source}. Convert them to the same units first."
    )
