r"""Data in memory, as one plain array of numbers and labels."""

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

MAX_BYTES = 8 << 30
PATIENCE = 120.0  # seconds for a batch of a worker
WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def plain(x: Any, source: str) -> tuple[Tensor | np.memmap, Tensor | None]:
    r"""Returns an array of numbers that torch can compute with, and labels where `x` has some.

    Sparse arrays become dense and masked elements NaN; a memory-mapped array stays mapped.

    Raises:
        ValueError: `x` holds no numbers, or does not fit into memory.
    """
    if isinstance(x, DataLoader | Dataset):
        return _from_dataset(x, source)
    if isinstance(x, Tensor):
        return _from_tensor(x, source), None
    if isinstance(x, np.memmap):
        native(x[:1], source)
        return x, None
    if type(x).__module__.startswith("scipy.sparse"):
        _check_size(int(np.prod(x.shape)) * x.dtype.itemsize, source)
        x = x.toarray()
    if isinstance(x, str | bytes | dict | set) or not (
        hasattr(x, "__array__") or isinstance(x, list | tuple)
    ):
        path = isinstance(x, str) or hasattr(x, "__fspath__")
        hint = " Read it first: pv.data.load(path)." if path else ""
        if hasattr(x, "splits"):
            hint = " Pass one of its splits, such as dataset.train."
        elif hasattr(x, "__next__") or callable(x):
            hint = " Write batches to a file first: pv.data.from_batches(batches, path)."
        raise ValueError(
            f"Expected numbers of shape (N, *x_shape) in {source}: a tensor, an array, a "
            f"DataFrame, a Dataset or a DataLoader; got an object of type {type(x).__name__}."
            f"{hint}"
        )
    if isinstance(x, np.ma.MaskedArray):
        return torch.from_numpy(native(_unmask(x), source)), None
    if isinstance(x, list | tuple):
        x = [part.detach().cpu().numpy() if isinstance(part, Tensor) else part for part in x]
    try:
        array = np.asarray(x)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    return torch.from_numpy(native(array, source)), None


def native(array: np.ndarray, source: str) -> np.ndarray:
    r"""Returns an array of numbers in a dtype, byte order and layout that torch supports.

    Raises:
        ValueError: The array holds no numbers, or whole numbers beyond 64 bits.
    """
    if array.dtype.kind == "O" and array.size and all(map(_is_number, array.flat)):
        array = array.astype(np.float64)  # None is NaN
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "buif":
        raise ValueError(
            f"Expected numbers in {source}; got an array of dtype {array.dtype}. Convert text "
            "and dates to numbers first, and rows of different lengths to rows of one length."
        )
    if kind == "u" and size > 1:
        if size == 8 and array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise ValueError(
                f"Expected whole numbers below 2^63 in {source}; got {array.max()}. Divide them "
                "first."
            )
        dtype = np.dtype(np.int32 if size == 2 else np.int64)
    elif kind == "f" and size > 8:
        dtype = np.dtype(np.float64)
    else:
        dtype = array.dtype.newbyteorder("=")
    array = np.asarray(array, dtype, order="C")
    return array if array.flags.writeable else array.copy()


def _from_tensor(x: Tensor, source: str) -> Tensor:
    if x.is_complex() or x.is_quantized or x.is_nested:
        raise ValueError(
            f"Expected real numbers in {source}; got a tensor of dtype {x.dtype}. Pass the real "
            "and imaginary parts as separate features."
        )
    if x.layout != torch.strided:
        _check_size(x.numel() * x.element_size(), source)
        x = x.to_dense()
    x = x.detach()
    if x.dtype is torch.uint64:
        return torch.from_numpy(native(x.cpu().numpy(), source)).to(x.device)
    return x.to(WIDER.get(x.dtype, x.dtype))


def _unmask(x: Any) -> np.ndarray:
    r"""The array with NaN at masked elements; unchanged if there are none."""
    if not np.ma.is_masked(x):
        return np.asarray(x.data)
    real = x.dtype if x.dtype.kind == "f" else np.dtype(np.float64)
    return np.asarray(x.astype(real).filled(np.nan))


def _from_dataset(data: Any, source: str) -> tuple[Tensor, Tensor | None]:
    r"""Gathers the rows of a Dataset in order; for a DataLoader, those of its Dataset."""
    if isinstance(data, DataLoader):
        own = data.collate_fn is not torch.utils.data.default_collate and data.batch_size
        if not own and not isinstance(data.dataset, IterableDataset):
            return _from_dataset(data.dataset, source)
        batches = _gather(_batches(data, source), source)
        joined = [torch.cat([as_tensor(part) for part in parts]) for parts in zip(*batches)]
    elif isinstance(data, TensorDataset):
        joined = list(data.tensors)
    else:
        count = len(data) if hasattr(data, "__len__") else 1
        if isinstance(data, IterableDataset):
            parts = _gather(data, source, count)
        elif hasattr(data, "__len__"):
            parts = _gather(map(data.__getitem__, range(count)), source, count)
        else:
            raise ValueError("Expected a Dataset with a known length; got one without __len__.")
        try:
            joined = [torch.stack([as_tensor(part) for part in column]) for column in zip(*parts)]
        except RuntimeError as error:
            raise ValueError(
                f"Expected data of one shape in {source}; got several shapes ({error})."
            ) from None
    if not joined:
        raise ValueError(f"Expected at least one row in {source}; got none.")
    labels = joined[1] if len(joined) == 2 and joined[1].dim() == 1 else None
    return _from_tensor(joined[0], source), labels


def _batches(loader: Any, source: str) -> Iterator[Any]:
    r"""The batches of a DataLoader, whose workers may be killed, raise or hang."""
    loader, number = copy(loader), 1
    if loader.num_workers and not loader.timeout:
        loader.timeout = PATIENCE
    try:
        for batch in loader:
            yield batch
            number += 1
    except Exception as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        reason = " ... ".join(dict.fromkeys([lines[0], lines[-1]]))
        raise ValueError(
            f"Expected batches from the DataLoader of {source}; got an error in number {number}: "
            f"{reason} Try num_workers=0, which shows where it comes from."
        ) from error


def _gather(rows: Iterable[Any], source: str, count: int = 1) -> list[tuple[Any, ...]]:
    r"""The parts of every row, as long as they fit into memory."""
    found: list[tuple[Any, ...]] = []
    held = 0
    for row in rows:
        if isinstance(row, dict):
            raise ValueError(
                f"Expected rows x or (x, label) in {source}; got dictionaries with "
                f"{', '.join(map(str, row))}. Pass a Dataset with only the tensors that make up x."
            )
        parts = tuple(row) if isinstance(row, list | tuple) else (row,)
        held += as_tensor(parts[0]).nbytes
        _check_size(max(held, held * count if not found else 0), source)
        found.append(parts)
    return found


def as_tensor(part: Any) -> Tensor:
    r"""Returns a part of a row or of a batch as a tensor; pictures with their channels first."""
    if isinstance(part, Tensor):
        return part.detach().cpu()
    array = np.asarray(part)
    if type(part).__module__.startswith("PIL."):  # channels first
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return torch.from_numpy(native(array, "a Dataset"))


def _check_size(count: int, source: str) -> None:
    if count > MAX_BYTES:
        raise ValueError(
            f"Expected {source} to fit into memory as a dense array; got {count / 1e9:.0f} GB. "
            "Write it to a file that is read row by row, pv.data.from_batches(batches, path), or "
            "use fewer columns."
        )


def _is_number(value: Any) -> bool:
    return value is None or isinstance(value, int | float | np.number | np.bool_)
