r"""Data that come in batches, more than memory holds: written to a file, and read row by row."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ..writing import replacing
from .arrays import as_tensor
from .split import Split, as_split


def from_batches(
    batches: Iterable[Any] | Callable[[], Iterable[Any]],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Split:
    r"""Writes batches to an ``.npy`` file, one after the other, and returns its rows as a split.

    Training reads the rows that it needs from the file. So it shuffles, evaluates, resumes and
    stops early as with data in memory, of which no more than a batch is needed here. It takes the
    disk instead: one pass over the batches is kept, and what they would draw anew in another pass,
    such as augmentation, is not.

    Arguments:
        batches: A DataLoader or any other iterable of batches, or a function that returns one. A
            batch is `x` of shape `(B, *x_shape)`, or `(x, labels)`.
        path: The file, which is complete once it has this name.
        overwrite: Whether to replace the file if it is there.

    Returns:
        All rows, in the order of the batches; labels stay in memory.

    Raises:
        ValueError: The file is there, there is no batch, or batches differ in shape or dtype.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     split = from_batches((torch.rand(10, 3) for _ in range(4)), f"{folder}/x.npy")
        ...     len(split), split.x_shape
        (40, (3,))
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise ValueError(
            f"Expected a new file for the batches; got {path}, which is there. Read it with "
            f"pv.data.load({str(path)!r}), or pass overwrite=True."
        )
    pairs = _pairs(batches() if callable(batches) else batches)
    with replacing(path) as partial, partial.open("wb") as file:
        labels = _write(file, pairs)
    split = as_split(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
    return replace(split, labels=labels)


def _pairs(batches: Iterable[Any]) -> Iterator[tuple[np.ndarray, Any]]:
    for batch in batches:
        if isinstance(batch, dict):
            raise ValueError(
                f"Expected batches x or (x, labels); got dictionaries with {', '.join(batch)}. "
                "Yield the tensor that makes up x."
            )
        parts = batch if isinstance(batch, list | tuple) else (batch,)
        yield as_tensor(parts[0]).numpy(), as_tensor(parts[1]) if len(parts) > 1 else None


def _write(file: Any, pairs: Iterator[tuple[np.ndarray, Any]]) -> Tensor | None:
    r"""Writes the rows of batches, and returns their labels."""
    first, labels, count = None, [], 0
    for x, label in pairs:
        if first is None:
            if x.ndim < 2:
                raise ValueError(
                    f"Expected batches of shape (B, *x_shape); got {x.shape}. Use x[:, None] "
                    "for one column x."
                )
            first = x[:0]
            _write_header(file, first, 0)
        if x.shape[1:] != first.shape[1:] or x.dtype != first.dtype:
            raise ValueError(
                f"Expected every batch as the first, {first.dtype} rows of shape "
                f"{first.shape[1:]}; got {x.dtype} rows of shape {x.shape[1:]} after "
                f"{count} rows."
            )
        file.write(np.ascontiguousarray(x).data)
        count += len(x)
        labels.append(label)
    if first is None or not count:
        raise ValueError("Expected batches of data; got none.")
    file.seek(0)
    _write_header(file, first, count)
    return torch.cat(labels) if all(label is not None for label in labels) else None


def _write_header(file: Any, rows: np.ndarray, count: int) -> None:
    r"""Writes a header, which is as long for any number of rows."""
    about = {"descr": npy.dtype_to_descr(rows.dtype), "fortran_order": False}
    npy.write_array_header_1_0(file, {**about, "shape": (count, *rows.shape[1:])})
