r"""Readers of files that may be anything: sizes are checked first, nothing is executed."""

import csv
import gzip
import struct
import zipfile
import zlib
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..config import File
from .dataset import Dataset, cut
from .split import Split, as_split

MAP_BYTES = 1 << 30
MAX_BYTES = 8 << 30
MAX_RATIO = 200
HOLES = ("", "na", "nan", "n/a", "?")
LABELS = ("labels", "label", "y", "target", "class")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


class Table(NamedTuple):
    r"""What a file holds: `x` as one piece or by split, and labels alike."""

    x: dict[str, Any]
    labels: dict[str, Any]


def own(config: File, data_dir: Path | None) -> Dataset:
    r"""Reads one's own data; a file of one piece is cut by a permutation that `seed` draws.

    A memory-mapped file is cut in the order of its rows.
    """
    table = read(config.path)
    splits = {name: _raw(table, name, config.path, config) for name in table.x}
    if "" in splits:
        splits = cut(splits[""], config.valid, config.test, config.seed)
    elif "train" not in splits:
        raise ValueError(f"Expected an array 'train' in {config.path}; got {[*splits]}.")
    return Dataset.make(config, splits)


def whole_file(path: Path, like: Any, name: str) -> Split:
    r"""Reads a split of a file, or the whole of one without splits, by the rules of `like`."""
    table = read(path)
    if "" not in table.x and name not in table.x:
        raise ValueError(f"Expected an array {name!r} in {path}; got {[*table.x]}.")
    split = _raw(table, name if name in table.x else "", path, like)
    return Dataset.make(like, {"test": split}).splits["test"]


def _raw(table: Table, name: str, path: Path, config: Any) -> Split:
    r"""An array as a split; pixels of eight bits have 255 levels unless counts are wanted."""
    x, labels = table.x[name], table.labels.get(name)
    split = as_split(x[:, None] if x.ndim == 3 else x, f"{path}/{name}" if name else str(path))
    levels = split.levels
    pixels = config.range == "unit" or config.binarize != "no"
    if x.dtype == np.uint8 and pixels and levels is not None and levels > 1:
        levels = 255
    labels = None if labels is None else torch.from_numpy(np.asarray(labels))
    return replace(split, labels=labels, levels=levels)


def read(path: Path) -> Table:
    r"""Reads .npy, .npz, .csv, IDX (also .gz) or a folder of images.

    Raises:
        ValueError: The file is none of these, is damaged, or claims more than it holds.
    """
    if path.is_dir():
        x, labels = read_images(path)
    elif not path.is_file():
        raise ValueError(f"Expected a file or a folder of images; {path} is not there.")
    elif path.suffix == ".npz":
        return read_npz(path)
    elif path.suffix == ".npy":
        x, labels = read_npy(path), None
    elif path.suffix == ".csv":
        x, labels = read_csv(path)
    elif "idx" in path.name or "ubyte" in path.name:
        x, labels = read_idx(path), None
    else:
        raise ValueError(
            f"Expected a file .npy, .npz, .csv or IDX (-ubyte, .idx), or a folder of images; got "
            f"{path}."
        )
    return Table({"": x}, {} if labels is None else {"": labels})


def read_npy(path: Path) -> np.ndarray:
    r"""Reads an array; one above 1 GiB is mapped into memory and read by rows."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise ValueError(f"Expected an array of numbers in {path}; got {error}.") from None
    return mapped if mapped.nbytes > MAP_BYTES else np.array(mapped)


def read_npz(path: Path) -> Table:
    r"""Reads the arrays `x` (or `images`, `data`) or `train`, `valid`, `test`, and labels."""
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(info.file_size for info in archive.infolist())
        packed = path.stat().st_size
        if declared > MAX_BYTES or (declared > 100_000_000 and declared > MAX_RATIO * packed):
            raise ValueError(f"{declared} bytes packed into {packed}, which is no honest archive")
        with np.load(path, allow_pickle=False) as archive_:
            arrays = {name: archive_[name] for name in archive_.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, SyntaxError) as error:
        raise ValueError(f"Expected arrays of numbers in {path}; got {error}.") from None
    x: dict[str, Any] = {n: arrays[n] for n in ("train", "valid", "test") if n in arrays}
    labels = {n: arrays[key] for n in x for label in LABELS if (key := f"{n}_{label}") in arrays}
    if not x:
        names = [n for n in ("x", "images", "data") if n in arrays] or [*arrays][:1]
        if not names:
            raise ValueError(f"Expected an array x in {path}; got none.")
        x = {"": arrays[names[0]]}
        found = next((arrays[n] for n in LABELS if n in arrays), None)
        labels = {} if found is None else {"": found}
    return Table(x, labels)


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    r"""Reads a table of numbers; a first line of names is optional, a label column too.

    Empty cells and NA are holes (NaN), which only some likelihoods take.
    """
    with path.open(newline="", encoding="utf-8") as file:
        lines = [row for row in csv.reader(file) if row]
    if not lines:
        raise ValueError(f"Expected a table in {path}; got an empty file.")
    names = None if _is_number(lines[0][0]) else [name.strip().lower() for name in lines.pop(0)]
    first = 1 if names is None else 2
    width = len(names or lines[0]) if lines else 0
    table = np.empty((len(lines), width))
    for i, row in enumerate(lines):
        if len(row) != width:
            raise ValueError(
                f"Expected {width} columns; got {len(row)} in {path}, line {i + first}."
            )
        for j, cell in enumerate(row):
            if cell.strip().lower() in HOLES:
                table[i, j] = np.nan
                continue
            if not _is_number(cell):
                raise ValueError(
                    f"Expected a number; got {cell!r} in {path}, line {i + first}, column {j + 1}."
                )
            table[i, j] = float(cell)
    label = next((j for j, name in enumerate(names or []) if name in LABELS), None)
    if label is None:
        return table, None
    return np.delete(table, label, axis=1), table[:, label].astype(np.int64)


def read_idx(path: Path) -> np.ndarray:
    r"""Reads an IDX file, compressed or not, after its header has been found honest."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            zero, kind, dims = struct.unpack(">HBB", file.read(4))
            dtype = np.dtype(IDX_TYPES[kind])
            shape = struct.unpack(f">{dims}I", file.read(4 * dims))
            size = prod(shape) * dtype.itemsize
            if zero != 0 or size > MAX_BYTES or size > 1100 * path.stat().st_size:
                raise ValueError(f"a header that claims {size} bytes")
            body = file.read(size + 1)
    except (struct.error, KeyError, EOFError, OSError, zlib.error, ValueError) as error:
        raise ValueError(f"Expected an IDX file in {path}; got {error!s}.") from None
    if len(body) != size:
        raise ValueError(f"Expected {size} bytes of data in {path}; got another number.")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def read_images(folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    r"""Reads the images of a folder, in order of their names; sub-folders are labels."""
    from PIL import Image, UnidentifiedImageError

    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGES)
    if not files:
        raise ValueError(f"Expected images in {folder}; got none.")
    images: list[np.ndarray] = []
    for path in files:
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
            raise ValueError(f"Expected an image in {path}; got {error}.") from None
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if images and pixels.shape != images[0].shape:
            raise ValueError(
                f"Expected images of one size, {images[0].shape}; got {pixels.shape} in {path}."
            )
        images.append(pixels)
    parents = [path.parent for path in files]
    classes = {parent: i for i, parent in enumerate(sorted(set(parents)))}
    labels = np.array([classes[p] for p in parents]) if len(classes) > 1 else None
    return np.stack(images), labels


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
