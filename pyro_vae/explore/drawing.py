r"""How a datum looks on the page."""

from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Column, Split
from ..distributions import describe_support
from ..plot.canvas import scale_of
from .packing import Arrays

MANY = 1_000_000  # numbers of real data, above which they are stored in half precision


def looks_of(split: Split, law: Any, arrays: Arrays) -> dict[str, Any]:
    r"""The data themselves, and how they are drawn: as images, sequences, or a table."""
    x = split.rows(slice(None))
    shape = split.x_shape
    picture, places = None, {}
    form = "table"
    if len(shape) == 3 and shape[0] in (1, 3):
        form, picture = "image", [*shape]
    elif split.picture is not None:
        form, picture = "image", [*split.picture.shape]
        places = {n: arrays.add(v) for n, v in split.picture.places.items()}
    elif len(shape) == 2:
        form = "sequence"
    scale = scale_of(x, split)
    return {
        "shape": [*shape],
        "size": prod(shape),
        "form": form,
        "picture": picture,
        "places": places,
        "unit": split.scale,
        "low": scale.low,
        "high": scale.high,
        "whole": bool(getattr(law.support, "is_discrete", False)),
        "values": _stored(x, arrays),
    }


def _stored(x: Tensor, arrays: Arrays) -> dict[str, Any]:
    r"""Data as bytes where they are levels, else as real numbers."""
    for factor in (1, 255, 16, 15):
        scaled = x * factor
        levels = scaled.round()
        good = bool((scaled - levels).abs().max() < 1e-4) if not x.isnan().any() else False
        if good and float(levels.min()) >= 0 and float(levels.max()) <= 255:
            return {"array": arrays.add(levels, np.uint8), "factor": factor}
    dtype = np.float16 if x.numel() > MANY else np.float32
    return {"array": arrays.add(x, dtype), "factor": 1}


def columns_of(split: Split, law: Any) -> list[dict[str, Any]]:
    r"""The columns of a table, with the range of the data in each."""
    if len(split.x_shape) != 1 or split.picture is not None:
        return []
    x = split.rows(slice(None)).double().cpu()
    columns = split.columns or [Column(f"x{i + 1}") for i in range(x.shape[1])]
    found = []
    for place, column in enumerate(columns):
        values = x[:, place][~x[:, place].isnan()]
        if not len(values):
            values = torch.zeros(1, dtype=torch.float64)
        ends = torch.quantile(values, torch.tensor([0.0, 0.01, 0.99, 1.0], dtype=torch.float64))
        support = getattr(law.support, "at", lambda _: law.support)(place)
        found.append(
            {
                "name": str(column.name),
                "categories": [*column.categories],
                "low": float(ends[0] if ends[1] == ends[2] else ends[1]),
                "high": float(ends[3] if ends[1] == ends[2] else ends[2]),
                "mean": float(values.mean()),
                "spread": float(values.std()) if len(values) > 1 else 1.0,
                "whole": describe_support(support).startswith("{"),
            }
        )
    return found
