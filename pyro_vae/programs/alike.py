r"""Do model and guide weight a latent variable equally? Why a loss is not a bound, in words."""

from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .tracing import equal


class note_rows(Messenger):
    r"""Notes the rows that a program gives to its subsampled plates, before a replay changes them.

    Attributes:
        rows: The row numbers, by the name of the plate.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Any] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if type(msg["fn"]).__name__ == "_Subsample" and msg["value"] is not None:
            self.rows[msg["name"]] = msg["value"]


def rows_differ(guide: poutine.Trace, model: dict[str, Any]) -> str | None:
    r"""A sentence where a plate of the guide has other rows than the model gives to its own."""
    for name, rows in model.items():
        site = guide.nodes.get(name)
        if site is None or site["value"] is None or len(rows) == site["fn"].size:
            continue
        here, there = (torch.as_tensor(r).cpu() for r in (site["value"], rows))
        if here.shape != there.shape or not torch.equal(here, there):
            return (
                f"Expected the rows of plate {name!r} to be the same in guide and model; got "
                f"{here.tolist()[:3]} ... and {there.tolist()[:3]} ..., so that what the guide "
                "learns of one row is used for another. Draw the rows before, and give them to "
                "both programs (to an autoguide by create_plates); or give the plate "
                "subsample_size, and index the data by what it yields."
            )
    return None


def weights_differ(name: str, guided: Any, modelled: Any) -> str | None:
    r"""A sentence where a scale or mask acts on a latent variable in one program only."""
    for key, word in (("scale", "scale"), ("mask", "mask")):
        here, there = guided[key], modelled[key]
        if not equal(here, there):
            return (
                f"Expected one {word} for {name!r} in guide and model, else the loss is no bound; "
                f"got {_said(here)} in the guide and {_said(there)} in the model. Put the handler "
                "or the subsampled plate around both programs."
            )
    return None


def _said(value: Any) -> str:
    if isinstance(value, Tensor) and value.numel() == 1:
        return f"{value.item():g}" if value.dtype != torch.bool else str(value.item())
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
