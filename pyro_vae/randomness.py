r"""Random numbers: streams by purpose, and draws that leave no trace outside.  (layer 0)"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from zlib import crc32

import numpy as np
import torch

_alone = RLock()  # generators and Pyro's stack of handlers are those of the process


def stream(seed: int, *purpose: str | int) -> int:
    r"""Returns the seed of a stream of random numbers that is for one purpose alone.

    Two generators that start from one seed draw the same numbers: the bits of a picture and the
    noise of its latent variable would depend on each other. Training draws from the seed as it
    is; all other purposes have names.

    Arguments:
        seed: The seed that a user gave.
        purpose: What the numbers are for, such as ``"evaluation"``, and the number of a part.

    Example:
        >>> stream(0, "bits") == stream(0, "bits"), stream(0, "bits") == stream(0, "evaluation")
        (True, False)
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in purpose]
    state = np.random.SeedSequence([seed % 2**64, len(words), *words]).generate_state(2)
    return int(state[0]) << 31 | int(state[1]) >> 1


@contextmanager
def apart(device: torch.device, seed: int | None = None) -> Iterator[None]:
    r"""Puts the random generators of the CPU and of a device back to where they were.

    Generators of other devices are not touched: :func:`torch.manual_seed` would seed them all,
    and :func:`torch.random.fork_rng` puts back only those that it is told of. One thread is inside
    at a time; others wait.

    Arguments:
        device: Where random numbers are drawn, besides the CPU.
        seed: Where the generators start inside; by default they go on.
    """
    with _alone:
        generators = _generators(device)
        before = [generator.get_state() for generator in generators]
        try:
            if seed is not None:
                reseed(device, seed)
            yield
        finally:
            for generator, state in zip(generators, before):
                generator.set_state(state)


def reseed(device: torch.device, seed: int) -> None:
    r"""Starts the generators of the CPU and of a device at a seed, as
    :func:`torch.manual_seed` does for all."""
    for generator in _generators(device):
        generator.manual_seed(seed)


def _generators(device: torch.device) -> list[torch.Generator]:
    found = [torch.default_generator]
    if device.type == "cuda":
        torch.cuda.init()
        index = torch.cuda.current_device() if device.index is None else device.index
        found.append(torch.cuda.default_generators[index])
    return found
