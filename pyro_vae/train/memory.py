r"""What to do where memory is not enough."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..config import Train


@contextmanager
def enough_memory(settings: Train) -> Iterator[None]:
    r"""Says what to change where a step does not fit into memory.

    Raises:
        MemoryError: It does not; :class:`torch.OutOfMemoryError` on a GPU.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_gpu = isinstance(error, torch.OutOfMemoryError)
        lines = [line for line in str(error).splitlines() if "allocate" in line]
        if not (on_gpu or lines or isinstance(error, MemoryError)):
            raise
        kind = torch.OutOfMemoryError if on_gpu else MemoryError
        raise kind(
            f"Expected memory for a step with batch_size {settings.batch_size} and num_particles "
            f"{settings.num_particles}; got: {(lines or [repr(error)])[0].strip()}. Lower "
            "train.batch_size or train.num_particles, or make the networks smaller."
        ) from error
