r"""Activations by name, sizes of layers, and weights to start from."""

import operator
from collections.abc import Sequence
from difflib import get_close_matches
from math import inf
from typing import Literal

from torch import nn

Init = Literal["xavier", "kaiming"] | float


def find_activation(name: str) -> type[nn.Module]:
    r"""Returns the activation of :mod:`torch.nn` called `name`, whatever its capitals."""
    known = {
        key.lower(): value
        for key, value in vars(nn.modules.activation).items()
        if isinstance(value, type) and value.__module__ == nn.modules.activation.__name__
    }
    if name.lower() not in known:
        close = get_close_matches(name.lower(), known, n=1)
        hint = (
            f" Did you mean {known[close[0]].__name__}?" if close else " Try Tanh, ReLU or SiLU."
        )
        raise ValueError(f"Expected the name of an activation of torch.nn; got {name!r}.{hint}")
    return known[name.lower()]


def sizes(name: str, given: int | Sequence[int]) -> tuple[int, ...]:
    r"""Returns the size of each layer, or of each dimension, from those or from a single one.

    Raises:
        ValueError: One of them is no whole number of at least 1: nothing would pass.
    """
    try:
        found = tuple(map(operator.index, given if isinstance(given, Sequence) else (given,)))
    except TypeError:
        found = (0,)
    if any(size < 1 for size in found):
        raise ValueError(f"Expected {name} as whole numbers of at least 1; got {given!r}.")
    return found


def initialize(module: nn.Module, init: Init) -> None:
    r"""Draws new weights of linear and convolutional layers; biases become zero."""
    if init not in ("xavier", "kaiming") and (isinstance(init, str) or not 0 < init < inf):
        raise ValueError(
            f"Expected init 'xavier', 'kaiming', or a standard deviation; got {init!r}."
        )
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            if init == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            elif init == "kaiming":
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            else:
                nn.init.normal_(layer.weight, std=float(init))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
