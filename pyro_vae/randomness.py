r"""Random numbers: streams by purpose, and draws without side effects outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from zlib import crc32

import numpy as np
import torch

_alone = RLock()  # generators and Pyro's handler stack are global to the process


def stream(seed: int, *purpose: str | int) -> int:
    r"""Returns the seed of a stream of random numbers for a single purpose.

    Two generators that start from the same seed draw the same numbers: the bits of an image and
    the noise of its latent variable would be dependent. Training uses the seed itself; all other
    purposes have names.

    Arguments:
        seed: The seed that a user gave.
        purpose: What the numbers are for, such as ``"evaluation"``, and optional indices.

    Example:
        >>> stream(0, "bits") == stream(0, "bits"), stream(0, "bits") == stream(0, "evaluation")
        (True, False)
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in purpose]
    state = np.random.SeedSequence([seed % 2**64, len(words), *words]).generate_state(2)
    return int(state[0]) << 31 | int(state[1]) >> 1


@contextmanager
def apart(device: torch.device, seed: int | None = None) -> Iterator[None]:
    r"""Restores the random generators of the CPU and of a device on exit.

    Generators of other devices are not touched: :func:`torch.manual_seed` would seed them all,
    and :func:`torch.random.fork_rng` restores only those that it is given. Only one thread is
    inside at a time; others wait.

    Arguments:
        device: A device, in addition to the CPU, on which random numbers are drawn.
        seed: The seed inside; by default the generators continue.
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
    r"""Seeds the generators of the CPU and of a device, as
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
