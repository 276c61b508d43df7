r"""What commands write: whole files under the names that were asked for, or none."""

import csv
import sys
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data import Column

SUFFIXES = (".npz", ".npy", ".csv")


def check_out(out: Path | None, suffixes: Sequence[str] = SUFFIXES, flag: str = "--out") -> None:
    r"""Refuses, before anything is computed, a file that could not be written as it is named.

    Raises:
        ValueError: The suffix is another, there is a folder of this name, or none for it.
    """
    if out is None:
        return
    if out.suffix.lower() not in suffixes or out.is_dir():
        raise ValueError(f"Expected {flag} as a file {' or '.join(suffixes)}; got {out}.")
    if not out.parent.is_dir():
        raise ValueError(f"Expected a folder {out.parent} for {flag} {out}; make it first.")


def check_spares(out: Path | None, *sources: Any) -> None:
    r"""Refuses to write over the data themselves.

    Raises:
        ValueError: `out` is one of these files, or lies in one of these folders.
    """
    for source in sources if out is not None else ():
        place, file = Path(source).resolve(), Path(str(out)).resolve()
        if place == file or (place.is_dir() and place in file.parents):
            raise ValueError(
                f"Expected --out beside the data; got {out}, which would overwrite them."
            )


def write_arrays(out: Path, arrays: Mapping[str, Any]) -> None:
    r"""Writes arrays of one length as .npz, as a table .csv, or the first alone as .npy.

    In a table, an array of two dimensions has a column for each of its own: ``loc_0``, ``loc_1``.
    """
    import numpy as np

    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    try:
        if out.suffix.lower() == ".npz":
            np.savez(partial, **arrays)
        elif out.suffix.lower() == ".npy":
            np.save(partial, next(iter(arrays.values())))
        else:
            _write_table(partial, arrays)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    shapes = [f"{name} {np.shape(array)}" for name, array in arrays.items()]
    print(f"{out}: {', '.join(shapes[:1] if out.suffix == '.npy' else shapes)}")


def named_columns(x: Any, columns: Sequence["Column"]) -> dict[str, Any]:
    r"""The columns of a table by name, with the names of categories in the place of codes."""
    found: dict[str, Any] = {}
    for j, column in enumerate(columns):
        values = [float(v) for v in x[:, j]]
        if column.categories:
            names = column.categories
            found[column.name] = ["" if isnan(v) else names[int(v)] for v in values]
        else:
            found[column.name] = ["" if isnan(v) else v for v in values]
    return found


def write_data(
    out: Path, x: Any, form: Mapping[str, Any], keys: Mapping[str, Any], what: str
) -> None:
    r"""Writes data of a model: a table with the names that the training data had, else an array.

    Arguments:
        out: The file.
        x: The data.
        form: What a run records of the form of its data.
        keys: Columns that join them with the user's file.
        what: ``"sample"`` or ``"mean"``; means of codes are no categories.
    """
    from ..data import Column

    columns = [Column(name, tuple(codes)) for name, codes in form.get("columns", ())]
    if out.suffix.lower() == ".csv" and columns:
        if what == "mean":
            columns = [Column(column.name) for column in columns]
        write_arrays(out, {**keys, **named_columns(x, columns)})
    else:
        write_arrays(out, {"x": x, **keys})


def _write_table(path: Path, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    columns: dict[str, Any] = {}
    for name, values in arrays.items():
        array = np.asarray(values)
        if array.ndim == 1:
            columns[name] = array.tolist()
        else:
            rows = array.reshape(len(array), -1)
            columns |= {f"{name}_{j}": rows[:, j].tolist() for j in range(rows.shape[1])}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values()))


def save_picture(figure: Any, run: Path, name: str, title: str) -> None:
    r"""Writes a picture of a run."""
    from ..plot.run import save

    path = run / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    save(figure, path, title)
    print(f"Picture: {path}")


def announce(text: str) -> None:
    r"""Says what takes some seconds from here on, to people."""
    print(text, file=sys.stderr, flush=True)


def at_least_one(count: int, flag: str = "--num-data") -> int:
    if count < 1:
        raise ValueError(f"Expected {flag} of at least 1; got {count}.")
    return count
