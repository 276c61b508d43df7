r"""Tables with typed columns: DataFrames of pandas and polars, parquet and feather."""

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ..config import File
from .cells import (
    PADDED,
    WHOLE,
    Cells,
    Holes,
    distinct,
    features,
    in_order,
    parse,
    picked,
    text_of,
    too_large,
)
from .content import Column
from .dates import DATES, SPANS, days


def is_frame(x: Any) -> bool:
    r"""Whether `x` is a DataFrame of pandas or polars, or a pyarrow table."""
    package = type(x).__module__.split(".")[0]
    names = ("DataFrame", "LazyFrame", "Table")
    return package in ("pandas", "polars", "pyarrow") and type(x).__name__ in names


def read_frame(
    frame: Any, source: str, like: Sequence[Column] | None = None
) -> tuple[np.ndarray, tuple[Column, ...]]:
    r"""Returns all columns of a DataFrame (pandas, polars, pyarrow) as features, with names.

    Arguments:
        frame: The table.
        source: The name of the table in error messages.
        like: The columns to read, with their categories, from another table.

    Raises:
        ValueError: A column holds no numbers, dates or categories.
    """
    facts: list[str] = []
    cells = typed_columns(frame, source, File(path=Path(source)), facts)
    if not cells:
        raise ValueError(f"Expected columns in {source}; got a table without columns.")
    known = {column.name: column.categories for column in like or ()}
    if known:
        cells = picked(cells, [*known], source, facts)
    if not facts and all(cell.numbers is not None for cell in cells):  # whole numbers stay whole
        x = np.stack([np.asarray(cell.numbers) for cell in cells], axis=1)
        return x, tuple(Column(cell.name) for cell in cells)
    x, columns = features(cells, known, source, facts)
    if like is not None and not known and any(column.categories for column in columns):
        raise ValueError(
            f"Expected numbers in {source}, or text whose codes are known from training; got "
            "text, for a model not trained on a DataFrame. Train on one, or encode the text first."
        )
    for fact in facts:
        print(f"{source}: {fact}", file=sys.stderr)
    return x, columns


def typed_columns(frame: Any, source: str, options: Any, facts: list[str]) -> list[Cells]:
    r"""The columns of a DataFrame or of a pyarrow table."""
    columns = columns_by_name(frame)
    names = distinct([name for name, _ in columns], facts)
    holes = Holes(options)
    cells = [
        _typed(name, column, source, holes, name in options.categories)
        for name, (_, column) in zip(names, columns)
    ]
    holes.report(facts)
    facts.extend(cell.note for cell in cells if cell.note)
    return [cell._replace(note="") for cell in cells]


def columns_by_name(frame: Any) -> list[tuple[str, Any]]:
    r"""The columns of a DataFrame or of a pyarrow table, with their names as text."""
    if hasattr(frame, "collect_schema") and hasattr(frame, "collect"):  # polars, lazy
        frame = frame.collect()
    if hasattr(frame, "column_names"):
        return list(zip(map(str, frame.column_names), frame.columns))
    if hasattr(frame, "get_columns"):
        return [(str(column.name), column) for column in frame.get_columns()]
    names = [" ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in frame.columns]
    return [(name, frame.iloc[:, j]) for j, name in enumerate(names)]


def _typed(name: str, column: Any, source: str, holes: Holes, chosen: bool) -> Cells:
    r"""Reads a typed column."""
    order = _order(column)
    values = np.asarray(column.to_numpy())
    kind = values.dtype.kind
    if kind in "buif":
        values = holes.to_nan(values)
        if chosen:
            text = text_of(Cells(name, values))
            return Cells(name, None, text, in_order(text))
        if order is None:
            if kind in "ui" and values.size and np.abs(values.astype(np.float64)).max() > WHOLE:
                raise ValueError(too_large(name, source))
            return Cells(name, values)
    if kind in "mM":
        since = values.astype(f"{kind}8[us]").astype(np.int64) / 86_400e6
        since = np.where(np.isnat(values), np.nan, since)
        note = (DATES if kind == "M" else SPANS).format(name)
        return Cells(name, since, note=note, dates=kind == "M")
    objects = [None if _is_missing(value) else value for value in values.tolist()]
    if any(isinstance(value, date) for value in objects):
        since = np.array([np.nan if v is None else days(v) for v in objects])
        return Cells(name, since, note=DATES.format(name), dates=True)
    if any(isinstance(v, list | dict | tuple | np.ndarray | bytes) for v in objects):
        raise ValueError(
            f"Expected numbers, dates or text in column {name!r} of {source}; got nested values. "
            "Leave it out, or give each element its own column."
        )
    if order is None and not any(isinstance(value, str) for value in objects):
        return Cells(name, holes.to_nan(_numbers(objects, name, source)))
    text = [None if v is None or holes.has(str(v).strip()) else str(v).strip() for v in objects]
    if order is not None or chosen:
        return Cells(name, None, text, in_order(text) if order is None else tuple(map(str, order)))
    words = bool(PADDED.search("\n".join(filter(None, text))))
    return parse(name, text, source, lambda i: f"{source}, row {i}", words)


def _numbers(objects: list[Any], name: str, source: str) -> np.ndarray:
    try:
        return np.array([np.nan if v is None else float(v) for v in objects])
    except (TypeError, ValueError, OverflowError):
        kinds = sorted({type(value).__name__ for value in objects if value is not None})
        raise ValueError(
            f"Expected numbers, dates or text in column {name!r} of {source}; got values of "
            f"type {', '.join(kinds)}. Leave it out, or convert it to numbers."
        ) from None


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _order(column: Any) -> Any:
    r"""The categories of a column in their own order, if its type has some."""
    if hasattr(getattr(column, "type", None), "index_type"):  # pyarrow
        return column.unify_dictionaries().chunk(0).dictionary.to_pylist()
    return getattr(getattr(column, "dtype", None), "categories", None)


def read_arrow(path: Path) -> Any:
    r"""Reads a table of parquet or feather.

    Raises:
        ValueError: The file is not one, or pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException, feather, parquet
    except ImportError:
        raise ValueError(
            f"Expected pyarrow to read {path.name}; it is not installed. Run "
            "pip install 'pyro_vae[tables]', or save the table as CSV."
        ) from None
    try:
        if path.suffix.lower() == ".parquet":
            return parquet.read_table(path)
        return feather.read_table(path)
    except (ArrowException, OSError) as error:
        raise ValueError(f"Expected a table in {path}; got {error}.") from None
