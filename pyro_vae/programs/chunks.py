r"""Data in chunks of a bounded number of elements, so that memory does not grow with them."""

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..data import Split
from ..randomness import reseed, stream
from ..ranks import here

ELEMENTS_AT_ONCE = 1_000_000
r"""How many numbers p(x | z) may have in memory at a time: rows x samples x elements of x."""


def rows_at_once(split: Split, copies: int = 1, elements: int | None = None) -> int:
    r"""Returns how many rows may be in memory at a time, each this many times."""
    size = max(1, prod(split.x_shape) * copies)
    return max(1, (elements or ELEMENTS_AT_ONCE) // size)


def batches(split: Split, size: int) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    r"""Yields `size` rows after another, with what is known of them."""
    for start in range(0, len(split), size):
        yield split.batch(slice(start, start + size))


def own_batches(split: Split, size: int) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    r"""As :func:`batches`, those of this rank (:meth:`pyro_vae.ranks.Ranks.in_order` joins what is
    found). Each has random numbers of its own, so that they are the same at any rank."""
    seed = torch.initial_seed()
    for start in here().own(range(0, len(split), size)):
        if start:
            reseed(split.device, stream(seed, "chunk", start))
        yield split.batch(slice(start, start + size))
