r"""Arrays in files: .npy, .npz with any names, IDX. Headers are checked, nothing is executed."""

import gzip
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..config import File
from .arrays import MAX_BYTES, native
from .content import Content, whole_labels
from .pictures import SPLITS
from .unpacking import most_bytes, read_at_most

MAP_BYTES = 1 << 30
X = ("x", "images", "image", "img", "data", "inputs", "features", "samples")
LABELS = ("labels", "label", "y", "target", "targets", "class", "classes")
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_npy(path: Path) -> np.ndarray:
    r"""Reads an array; one above 1 GiB is mapped into memory and read row by row."""
    try:
        with path.open("rb") as file:
            _header(file)
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"Expected an array of numbers in {path}; got {error}.") from None
    return mapped if mapped.nbytes > MAP_BYTES else np.array(mapped)


def read_npz(path: Path, config: File) -> Content:
    r"""Reads data and labels from an archive, in one piece or by split, as the names imply.

    Names are read as a split (train, val, test), a role (x, images, data; y, labels) or both, in
    either order: ``x``, ``x_train``, ``testImages``, ``train_labels``.

    Raises:
        ValueError: The archive is damaged, or its names do not tell which array is the data.
    """
    arrays = members(path)
    if not arrays:
        raise ValueError(f"Expected an array x in {path}; got none.")
    if {"format", "shape", "data"} <= {*arrays}:
        return Content({"": _sparse(arrays, path)}, facts=["the sparse matrix is made dense"])
    listing = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    remedy = f"Choose one with --data.array; the arrays are {listing}."
    x: dict[str, str] = {}
    y: dict[str, str] = {}
    others = []
    if config.label not in ("auto", "none", *arrays):
        raise ValueError(f"Expected an array of labels {config.label!r} in {path}; got {listing}.")
    for name in arrays:
        split, role = _meaning(name)
        if config.label != "auto" and role == "y":
            role = None
        if name == config.label:
            split, role = "", "y"
        place = x if role == "x" else y if role == "y" else None
        if config.array is not None and name == config.array:
            split, place = "", x
        elif config.array is not None and place is x:
            place = None
        if place is None:
            others.append(name)
        elif split in place:
            raise ValueError(f"Expected one array of data in {path}; got several. {remedy}")
        else:
            place[split] = name
    ids = [name for name in others if _is_index(arrays[name])]
    if not x and config.array is None and len(others) == len(ids) + 1:
        x[""] = next(name for name in others if name not in ids)
        others = ids
    if not x or (config.array is not None and config.array not in x.values()):
        raise ValueError(f"Expected an array of data called x in {path}; got none. {remedy}")
    if "" in x and len(x) > 1:
        if "train" in x:
            raise ValueError(
                f"Expected data in one piece or by split in {path}; got both. {remedy}"
            )
        x["train"] = x.pop("")
        y |= {"train": y.pop("")} if "" in y else {}
    used = [name for split, name in y.items() if split in x]
    facts = [f"data: {', '.join(x.values())}" + (f"; labels: {', '.join(used)}" if used else "")]
    if unused := [*others, *(name for split, name in y.items() if split not in x)]:
        facts.append(f"not used: {', '.join(unused)}")
    labels, classes = _codes({s: arrays[n] for s, n in y.items() if s in x}, path, facts)
    order = ("", "train", "valid", "test")
    data: dict[str, Any] = {split: arrays[x[split]] for split in order if split in x}
    return Content(data, labels, classes=classes, facts=facts)


def read_arrays(path: Path, *names: str) -> list[np.ndarray]:
    r"""Reads arrays of an archive by their names.

    Raises:
        ValueError: The archive is damaged, or has no array of one of these names.
    """
    arrays = members(path)
    if not {*names} <= {*arrays}:
        raise ValueError(
            f"Expected arrays called {', '.join(names)} in {path}; got "
            f"{', '.join(arrays) or 'none'}. Fetch the file again."
        )
    return [arrays[name] for name in names]


def members(path: Path) -> dict[str, np.ndarray]:
    r"""The arrays of an archive, each after its header has been validated."""
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            declared, packed = sum(info.file_size for info in members), path.stat().st_size
            if declared > min(MAX_BYTES, most_bytes(path)):
                raise ValueError(f"{declared} bytes packed into {packed}: not a plausible archive")
            for info in members:
                with archive.open(info) as file:
                    array = _npy(file, info.file_size)
                arrays[info.filename.removesuffix(".npy")] = array
    except (
        ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError,
        RuntimeError,
    ) as error:  # fmt: skip
        raise ValueError(f"Expected arrays of numbers in {path}; got {error}.") from None
    return arrays


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    r"""Shape, order and type of an array; numpy's reader may raise anything on forged ones."""
    version = np.lib.format.read_magic(file)
    header = getattr(np.lib.format, f"read_array_header_{version[0]}_0", None)
    if header is None:
        raise ValueError(f"an array of version {version}")
    try:
        return header(file)
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().partition("\n")[0][:100]
        raise ValueError(f"a header that cannot be read ({reason})") from None


def _npy(file: Any, size: int) -> np.ndarray:
    shape, order, dtype = _header(file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects, which could run code")
    count = prod(shape) * dtype.itemsize
    if count != size - file.tell() or min(shape, default=1) < 0:
        raise ValueError(f"a header that claims {count} bytes of {size}")
    array = np.frombuffer(bytearray(file.read()), dtype)
    return array.reshape(shape, order="F" if order else "C")


def _meaning(name: str) -> tuple[str, str | None]:
    r"""The split and the role that the name of an array implies.

    Example:
        >>> _meaning("x_train"), _meaning("testLabels"), _meaning("val"), _meaning("counts")
        (('train', 'x'), ('test', 'y'), ('valid', 'x'), ('', None))
    """
    words = [w.lower() for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
    words = [part for word in words for part in _parts(word)]
    splits = [SPLITS[word] for word in words if word in SPLITS]
    rest = [word for word in words if word not in SPLITS]
    if len(splits) > 1 or len(rest) > 1 or not words:
        return "", None
    role = "x" if not rest or rest[0] in X else "y" if rest[0] in LABELS else None
    return splits[0] if splits else "", role


def _parts(word: str) -> tuple[str, ...]:
    r"""The two parts of a word such as "xtrain"."""
    for split in SPLITS:
        for role in (word.removeprefix(split), word.removesuffix(split)):
            if role != word and role in (*X, *LABELS):
                return split, role
    return (word,)


def _is_index(array: np.ndarray) -> bool:
    r"""Whether an array is one column that numbers the rows, or names each of them."""
    column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if column.ndim != 1 or len(column) < 2:
        return False
    if column.dtype.kind in "SU":
        return len(np.unique(column)) == len(column)
    return column.dtype.kind in "iu" and bool((np.diff(column.astype(np.int64)) == 1).all())


def _codes(
    labels: Mapping[str, np.ndarray], path: Path, facts: list[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    r"""Labels of shape `(N,)`: text as codes of the sorted names, one-hot rows as positions."""
    found: dict[str, np.ndarray] = {}
    for split, array in labels.items():
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        elif array.ndim == 2 and array.dtype.kind in "buif":
            hot = np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all()
            if hot:
                array = array.argmax(1)
                facts.append("one-hot labels are converted to classes")
        if array.ndim != 1:
            facts.append(f"labels of shape {array.shape} are not used")
            return {}, ()
        found[split] = array
    if any(array.dtype.kind in "SU" for array in found.values()):
        text = {
            split: (np.char.decode(a, "utf-8") if a.dtype.kind == "S" else a.astype(str)).tolist()
            for split, a in found.items()
        }
        classes = sorted({*chain(*text.values())} - {""})
        codes = {name: i for i, name in enumerate(classes)}
        facts.append(f"{len(classes)} classes: {', '.join(classes[:10])}")
        labels = {split: np.array([codes.get(t, -1) for t in a]) for split, a in text.items()}
        return labels, tuple(classes)
    for split, array in found.items():
        if array.dtype.kind not in "buif":
            raise ValueError(f"Expected labels as numbers or text in {path}; got {array.dtype}.")
        array = native(array, str(path))
        found[split] = array.astype(np.int64) if array.dtype.kind == "b" else array
        if array.dtype.kind == "f" and (whole := whole_labels(array)) is not None:
            found[split] = whole
    kinds = {array.dtype.kind for array in found.values()}
    if len(kinds) > 1:
        found = {split: array.astype(np.float64) for split, array in found.items()}
    return found, ()


def _sparse(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    r"""A matrix that :func:`scipy.sparse.save_npz` wrote."""
    from scipy import sparse

    size = int(np.prod(arrays["shape"].astype(float))) * arrays["data"].dtype.itemsize
    if size > MAX_BYTES:
        raise ValueError(f"Expected a matrix below 8 GB when dense in {path}; got {size} bytes.")
    try:
        return sparse.load_npz(path).toarray()
    except (ValueError, NotImplementedError, KeyError, IndexError) as error:
        raise ValueError(f"Expected a sparse matrix in {path}; got {error}.") from None


def read_idx(path: Path) -> np.ndarray:
    r"""Reads an IDX file, compressed or not, after its header has been validated."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            zero, kind, dims = struct.unpack(">HBB", file.read(4))
            dtype = np.dtype(IDX_TYPES[kind])
            shape = struct.unpack(f">{dims}I", file.read(4 * dims))
            size = prod(shape) * dtype.itemsize
            packed = path.suffix == ".gz"
            most = most_bytes(path) if packed else path.stat().st_size
            if zero != 0 or dims > 32 or size > min(most, MAX_BYTES):
                raise ValueError(f"a header that claims {dims} dimensions and {size} bytes")
            body = read_at_most(file, size + 1)
    except (struct.error, KeyError, EOFError, OSError, zlib.error, ValueError) as error:
        raise ValueError(f"Expected an IDX file in {path}; got {error!s}.") from None
    if len(body) != size:
        raise ValueError(f"Expected {size} bytes of data in {path}; got a different number.")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
