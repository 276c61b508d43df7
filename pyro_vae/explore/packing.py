r"""Numbers as text: arrays once each, compressed; graphs that name them."""

import base64
import hashlib
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .graph import Graph, Value

LARGEST = 6e4  # of half precision
TYPES = {np.dtype("uint8"): "uint8", np.dtype("float16"): "float16"}


class Arrays:
    r"""Creates an empty store of arrays, which keeps equal ones once."""

    def __init__(self) -> None:
        self.packed: list[dict[str, str]] = []
        self._places: dict[str, int] = {}

    def add(self, values: Any, dtype: Any = np.float32) -> int:
        r"""Stores an array, flattened, and returns its number."""
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        if dtype == np.float16 and array.size and float(np.abs(array).max()) > LARGEST:
            dtype = np.float32
        array = np.ascontiguousarray(array, dtype)
        name = TYPES.get(array.dtype, "float32")
        key = f"{name} {hashlib.sha256(array.tobytes()).hexdigest()}"
        if key not in self._places:
            self._places[key] = len(self.packed)
            data = base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()
            self.packed.append({"type": name, "data": data})
        return self._places[key]

    def forget(self, count: int) -> None:
        r"""Forgets all but the first arrays."""
        del self.packed[count:]
        self._places = {key: place for key, place in self._places.items() if place < count}

    @property
    def size(self) -> int:
        r"""How many characters they take."""
        return sum(len(part["data"]) for part in self.packed)


def packed_graph(graph: Graph, arrays: Arrays, half: bool = False) -> dict[str, Any]:
    r"""Returns a graph as JSON, its constants among the arrays.

    Arguments:
        graph: The graph.
        arrays: Where the constants go.
        half: Whether constants that :meth:`Graph.halved` rounds are stored in half precision.
    """
    steps = []
    for step in graph.steps:
        if step.name == "constant":
            constant = step.arguments[0]
            dtype = np.float16 if half and Graph.is_halved(constant) else np.float32
            steps.append([step.name, [arrays.add(constant, dtype)], step.shape])
        else:
            steps.append([step.name, [_plain(a) for a in step.arguments], step.shape])
    return {"steps": steps, "outputs": graph.outputs}


def _plain(argument: Any) -> Any:
    match argument:
        case Value(step):
            return {"value": step}
        case list() | tuple():
            return [_plain(part) for part in argument]
        case bool() | int() | str() | None:
            return argument
        case float():
            return argument if np.isfinite(argument) else {"number": str(argument)}
        case torch.dtype():
            return str(argument).removeprefix("torch.")
    return None  # devices, layouts, generators
