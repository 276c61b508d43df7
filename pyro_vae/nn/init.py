r"""Activations by name, and weights to start from."""

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
