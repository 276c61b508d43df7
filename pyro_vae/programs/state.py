r"""What every evaluation promises: parameters, flags and random state stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pyro
import torch
from torch import nn

from ..precision import default_dtype
from ..randomness import apart, stream


@contextmanager
def undisturbed(vae: nn.Module, seed: int) -> Iterator[torch.device]:
    r"""Evaluates `vae` in evaluation mode, without gradients, with random numbers of its own.

    Pyro's validation is off inside: supports and shapes are checked once, before.

    Arguments:
        vae: The module, left as it was: every submodule gets its own training flag back.
        seed: Seeds the random numbers inside; those outside go on undisturbed.

    Yields:
        The device of the parameters.
    """
    device = device_of(vae)
    flags = [(module, module.training) for module in vae.modules()]
    noise = apart(device, stream(seed, "evaluation"))
    try:
        with noise, default_dtype(dtype_of(vae)), torch.no_grad(), pyro.validation_enabled(False):
            vae.eval()
            yield device
    finally:
        for module, training in flags:
            module.training = training


def dtype_of(vae: nn.Module) -> torch.dtype:
    r"""Returns the dtype of the first parameter of real numbers, else torch's default."""
    stored = (value for value in pyro.get_param_store().values())
    floats = (p.dtype for p in chain(vae.parameters(), stored) if p.dtype.is_floating_point)
    found = next(floats, torch.get_default_dtype())
    return found if found in (torch.float32, torch.float64) else torch.get_default_dtype()


def device_of(vae: nn.Module) -> torch.device:
    r"""Returns the device of the first parameter, else of Pyro's param store, else the CPU."""
    stored = (value for value in pyro.get_param_store().values())
    return next((p.device for p in chain(vae.parameters(), stored)), torch.device("cpu"))
