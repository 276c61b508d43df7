r"""Columns of a table, from text or from a type of their own: numbers, dates, categories."""

import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .text import Lines, number

HOLES = ("", "na", "nan", "-nan", "n/a", "#n/a", "<na>", "?", "null", "none", "nat")
PADDED = re.compile(r"^[+-]?0\d+$", re.ASCII | re.MULTILINE)
ENDLESS = re.compile(r"^[+-]?\d{17,40}$", re.ASCII | re.MULTILINE)
OTHER_CHARACTERS = re.compile(r"[^0-9eE+\-.\n]")
WHOLE = 2**53  # below, double precision holds every whole number
LONGEST = 1e19  # above, whole numbers are no identifiers but measured
MOST_CATEGORIES = 1000
FEW_CATEGORIES = 20
DATES = "column {}: dates, as days since 1970-01-01"
SPANS = "column {}: spans of time, as days"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO_DATE = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
OTHER_DATES = {
    re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}", re.ASCII): "%d.%m.%Y",
    re.compile(r"\d{4}/\d{1,2}/\d{1,2}", re.ASCII): "%Y/%m/%d",
}
SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/\d{4}", re.ASCII)


class Column(NamedTuple):
    r"""A column of a table: its name, and what its codes 0, 1, ... stand for, if it has some."""

    name: str
    categories: tuple[str, ...] = ()


class Cells(NamedTuple):
    r"""A column before it is read: numbers (NaN in the holes), or text (None in the holes)."""

    name: str
    numbers: np.ndarray | None
    text: list[str | None]
    order: tuple[str, ...] = ()  # of categories, where the source has one
    note: str = ""
    fault: str = ""  # why it can be no feature


def is_frame(x: Any) -> bool:
    r"""Whether `x` is a DataFrame of pandas or polars, or a table of pyarrow."""
    package = type(x).__module__.split(".")[0]
    names = ("DataFrame", "LazyFrame", "Table")
    return package in ("pandas", "polars", "pyarrow") and type(x).__name__ in names


def read_frame(
    frame: Any, source: str, like: Sequence[Column] | None = None
) -> tuple[np.ndarray, tuple[Column, ...]]:
    r"""Returns all columns of a DataFrame (pandas, polars, pyarrow) as features, with names.

    Arguments:
        frame: The table.
        source: What errors call it.
        like: Columns of another table, those wanted, with their codes.

    Raises:
        ValueError: A column holds neither numbers, dates nor categories.
    """
    facts: list[str] = []
    cells = typed_columns(frame, source, None, facts)
    if not cells:
        raise ValueError(f"Expected columns in {source}; got a table without any.")
    known = {column.name: column.categories for column in like or ()}
    if known:
        cells = picked(cells, [*known], source, facts)
    if not facts and all(cell.numbers is not None for cell in cells):  # whole numbers stay whole
        x = np.stack([np.asarray(cell.numbers) for cell in cells], axis=1)
        return x, tuple(Column(cell.name) for cell in cells)
    found = [values_of(cell, source, known.get(cell.name, ()), facts) for cell in cells]
    if like is not None and not known and any(names for _, names in found):
        raise ValueError(
            f"Expected numbers in {source}, or text whose codes are known from training; got "
            "text, and a model trained on no DataFrame. Train it on one, or code the text first."
        )
    columns = tuple(Column(cell.name, names) for cell, (_, names) in zip(cells, found))
    for fact in facts:
        print(f"{source}: {fact}", file=sys.stderr)
    return np.stack([values for values, _ in found], axis=1), columns


def picked(
    cells: list[Cells], wanted: Sequence[str], source: str, facts: list[str]
) -> list[Cells]:
    r"""The columns that the training data had, in their order."""
    by_name = {cell.name: cell for cell in cells}
    if missing := [name for name in wanted if name not in by_name]:
        raise ValueError(
            f"Expected the columns of the training data in {source}; got none called "
            f"{', '.join(missing[:10])}. Add what is not known as empty cells."
        )
    if extra := [name or "one without a name" for name in by_name if name not in wanted]:
        facts.append(f"left out, as they were not in the training data: {', '.join(extra)}")
    return [by_name[name] for name in wanted]


class Holes:
    r"""Words and numbers that stand for a missing value, and which of one's own were met."""

    def __init__(self, options: Any) -> None:
        own = () if options is None else options.holes
        standard = options is None or options.usual_holes
        self.words = {*(HOLES if standard else ("",)), *(str(word).lower() for word in own)}
        self.numbers = {value: word for word in own if (value := number(str(word))) is not None}
        self.own = {str(word).lower(): word for word in own}
        self.met: set[str] = set()

    def has(self, cell: str, decimal: str = ".") -> bool:
        word = cell.lower()
        if word in self.words:
            if word in self.own:
                self.met.add(self.own[word])
            return True
        value = number(cell, decimal) if self.numbers else None
        if value is None or value not in self.numbers:
            return False
        self.met.add(self.numbers[value])
        return True

    def dug(self, values: np.ndarray) -> np.ndarray:
        r"""Numbers, with NaN where one stands for a missing value."""
        there = np.isin(values, [*self.numbers]) if self.numbers else np.array(False)
        if not there.any():
            return values
        self.met |= {word for value, word in self.numbers.items() if (values == value).any()}
        real = values.dtype if values.dtype.kind == "f" else np.float64
        return np.where(there, np.nan, values.astype(real))

    def tell(self, facts: list[str]) -> None:
        if idle := [word for word in self.own.values() if word not in self.met]:
            facts.append(f"holes: nothing is {', '.join(map(repr, idle))}")


def distinct(names: Sequence[str], facts: list[str]) -> list[str]:
    r"""Names of columns, each of which is there once."""
    found: list[str] = []
    for name in names:
        count, free = 0, name
        while free in found and name:
            count += 1
            free = f"{name}.{count}"
        if count:
            facts.append(f"two columns are called {name}; one is now {free}")
        found.append(free)
    return found


def typed_columns(frame: Any, source: str, options: Any, facts: list[str]) -> list[Cells]:
    r"""The columns of a DataFrame or of a table of pyarrow."""
    columns = _named(frame)
    names = distinct([name for name, _ in columns], facts)
    holes = Holes(options)
    chosen = () if options is None else options.categories
    cells = []
    for name, (_, column) in zip(names, columns):
        cells.append(_typed(name, column, source, holes, name in chosen))
    holes.tell(facts)
    facts.extend(cell.note for cell in cells if cell.note)
    return [cell._replace(note="") for cell in cells]


def _named(frame: Any) -> list[tuple[str, Any]]:
    if hasattr(frame, "collect_schema") and hasattr(frame, "collect"):  # polars, lazy
        frame = frame.collect()
    if hasattr(frame, "column_names"):
        return list(zip(map(str, frame.column_names), frame.columns))
    if hasattr(frame, "get_columns"):
        return [(str(column.name), column) for column in frame.get_columns()]
    names = [" ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in frame.columns]
    return [(name, frame.iloc[:, j]) for j, name in enumerate(names)]


def _typed(name: str, column: Any, source: str, holes: Holes, chosen: bool) -> Cells:
    r"""A column that has a type of its own."""
    order = _order(column)
    values = np.asarray(column.to_numpy())
    kind = values.dtype.kind
    if kind in "buif":
        values = holes.dug(values)
    if chosen and kind in "buif":
        text = text_of(Cells(name, values, []))
        return Cells(name, None, text, in_order(text, ()))
    if kind in "buif" and order is None:
        if kind in "ui" and values.size and np.abs(values.astype(np.float64)).max() > WHOLE:
            raise ValueError(_too_large(name, source))
        return Cells(name, values, [])
    if kind in "mM":
        days = values.astype(f"{kind}8[us]").astype(np.int64) / 86_400e6
        days = np.where(np.isnat(values), np.nan, days)
        told = DATES if kind == "M" else SPANS
        return Cells(name, days, [], note=told.format(name))
    objects = [None if _is_missing(value) else value for value in values.tolist()]
    if any(isinstance(value, date) for value in objects):
        since = [np.nan if v is None else _days(v) for v in objects]
        return Cells(name, np.array(since), [], note=DATES.format(name))
    if any(isinstance(v, list | dict | tuple | np.ndarray | bytes) for v in objects):
        raise ValueError(
            f"Expected numbers, dates or text in column {name!r} of {source}; got nested values. "
            "Leave it out, or give its elements columns of their own."
        )
    if not any(isinstance(value, str) for value in objects) and order is None:
        try:
            numbers = np.array([np.nan if v is None else float(v) for v in objects])
        except (TypeError, ValueError, OverflowError):
            kinds = sorted({type(value).__name__ for value in objects if value is not None})
            raise ValueError(
                f"Expected numbers, dates or text in column {name!r} of {source}; got values of "
                f"type {', '.join(kinds)}. Leave it out, or turn it into numbers."
            ) from None
        return Cells(name, holes.dug(numbers), [])
    text = [None if v is None or holes.has(str(v).strip()) else str(v).strip() for v in objects]
    if order is not None or chosen:
        names = tuple(map(str, order)) if order is not None else in_order(text, ())
        return Cells(name, None, text, names)
    joined = "\n".join(filter(None, text))
    if ENDLESS.search(joined):
        return Cells(name, None, text, fault=_too_large(name, source))
    if PADDED.search(joined):
        return Cells(name, None, text)
    cells = _parse(name, text, ".", ())
    if cells.numbers is None:
        return cells._replace(fault=_mixture(cells, ".", lambda i: f"{source}, row {i}", name))
    return cells


def read_arrow(path: Path) -> Any:
    try:
        from pyarrow import ArrowException, feather, parquet
    except ImportError:
        raise ValueError(
            f"Expected pyarrow, which reads {path.name} and which the extra `tables` installs: "
            "pip install 'pyro_vae[tables]'. Without it, save the table as CSV."
        ) from None
    try:
        if path.suffix.lower() == ".parquet":
            return parquet.read_table(path)
        return feather.read_table(path)
    except (ArrowException, OSError) as error:
        raise ValueError(f"Expected a table in {path}; got {error}.") from None


def text_columns(lines: Lines, names: list[str], path: Path, options: Any) -> list[Cells]:
    width = len(names)
    for row, line in zip(lines.rows, lines.numbers):
        if len(row) != width:
            raise ValueError(
                f"Expected {width} columns; got {len(row)} in {path}, line {line}. Quote cells "
                "that hold the separator, or say it by --data.separator."
            )
    if not lines.rows:
        raise ValueError(f"Expected rows below the names in {path}; got none.")
    holes = Holes(options)
    columns = [
        [None if holes.has(cell, lines.decimal) else cell for cell in column]
        for column in zip(*lines.rows)
    ]
    holes.tell(lines.facts)
    joined = ["\n".join(filter(None, column)) for column in columns]
    padded = [bool(PADDED.search(column)) for column in joined]
    layout = sum(padded) > 1 and 2 * sum(padded) >= width  # all numbers have leading zeros
    plain = () if layout else [name for name, pad in zip(names, padded) if pad]
    found = []
    for j, (name, column) in enumerate(zip(names, columns)):
        order = in_order(column, ()) if name in options.categories else ()
        if ENDLESS.search(joined[j]) and not order:
            found.append(Cells(name, None, column, fault=_too_large(name, str(path))))
            continue
        cells = _parse(name, column, lines.decimal, plain, order)
        if cells.numbers is None and name not in plain and not order:

            def place(i: int, j: int = j) -> str:
                return f"{path}, line {lines.numbers[i]}, column {j + 1}"

            cells = cells._replace(fault=_mixture(cells, lines.decimal, place, name))
        found.append(cells)
    return found


def _parse(
    name: str,
    text: list[str | None],
    decimal: str,
    forced: Sequence[str],
    order: tuple[str, ...] = (),
) -> Cells:
    r"""A column of text, as numbers where every cell that is there is one."""
    if name in forced or order:
        return Cells(name, None, text, order)
    values = _plain_numbers(text) if decimal == "." else None
    if values is not None:
        return Cells(name, values, [])
    values = np.full(len(text), np.nan)
    percent = any(text) and all(cell is None or cell.endswith("%") for cell in text)
    for i, cell in enumerate(text):
        if cell is not None:
            value = number(cell.removesuffix("%").rstrip() if percent else cell, decimal)
            if value is None:
                return Cells(name, None, text)
            values[i] = value / 100 if percent else value
    return Cells(name, values, [], note=f"column {name}: per cent, as shares" if percent else "")


def _plain_numbers(text: list[str | None]) -> np.ndarray | None:
    r"""What :func:`number` makes of all cells, at once, where they are of the commonest kind."""
    there = [cell for cell in text if cell is not None]
    if OTHER_CHARACTERS.search("\n".join(there)):
        return None
    try:
        found = np.fromiter(map(float, there), np.float64, len(there))
    except ValueError:
        return None
    if np.isinf(found).any():  # too many digits
        return None
    if len(there) == len(text):
        return found
    values = np.full(len(text), np.nan)
    values[[cell is not None for cell in text]] = found
    return values


def _mixture(cells: Cells, decimal: str, place: Callable[[int], str], name: str) -> str:
    r"""A sentence about a column with numbers and words: a misprint, or a name for a hole."""
    there = [(i, cell) for i, cell in enumerate(cells.text) if cell is not None]
    words = [(i, cell) for i, cell in there if number(cell, decimal) is None]
    if len(words) == len(there):
        return ""
    i, cell = words[0]
    return (
        f"Expected a number; got {short(cell)!r} in {place(i)} ({name}). For what is missing, say "
        f"--data.holes {short(cell)}; take all cells for categories by --data.categories {name}, "
        f"or leave the column out by --data.drop {name}."
    )


def text_of(cell: Cells) -> list[str | None]:
    r"""The cells of a column as text, none where there is a hole."""
    if cell.numbers is None:
        return cell.text
    values = cell.numbers.tolist()
    whole = [int(v) if float(v).is_integer() else v for v in values]
    return [None if v != v else str(v) for v in whole]


def values_of(
    cell: Cells,
    source: str,
    wanted: Sequence[str] | None,
    facts: list[str],
) -> tuple[np.ndarray, tuple[str, ...]]:
    r"""A column as numbers, and the names of its codes where it holds categories."""
    name = cell.name
    if cell.numbers is not None and not wanted:
        values = cell.numbers.astype(np.float64)
        there = values[np.isfinite(values)]
        if WHOLE < np.abs(there).max(initial=0) < LONGEST and (there == np.round(there)).all():
            raise ValueError(_too_large(name, source))
        return values, ()
    if cell.fault and not wanted:
        raise ValueError(cell.fault)
    text = text_of(cell)
    if not wanted and (days := _dates(text, name, source)) is not None:
        facts.append(DATES.format(name))
        return days, ()
    names = tuple(wanted) if wanted else in_order(text, cell.order)
    if not wanted and not cell.order:
        _check_categories(text, names, name, source)
    codes = {category: float(i) for i, category in enumerate(names)}
    for i, word in enumerate(text):
        if word is not None and word not in codes:
            raise ValueError(
                f"Expected one of {', '.join(names[:20])} in column {name!r}, as in training; got "
                f"{short(word)!r} in {source}, row {i}. Write it as one of these, leave the cell "
                "empty, or train on data that have it."
            )
    values = np.array([np.nan if word is None else codes[word] for word in text])
    told = ", ".join(f"{c} {i}" for i, c in enumerate(names[:8]))
    facts.append(f"column {name}: {len(names)} categories, {told}{' ...' if names[8:] else ''}")
    return values, names


def _check_categories(
    text: Sequence[str | None], names: Sequence[str], column: str, source: str
) -> None:
    r"""Refuses text that has another value in nearly every row."""
    count = sum(word is not None for word in text)
    few = len(names) < count and (len(names) <= FEW_CATEGORIES or 2 * len(names) <= count)
    if not count or (few and len(names) <= MOST_CATEGORIES):
        return
    raise ValueError(
        f"Expected numbers or categories in column {column!r} of {source}; got {len(names)} "
        f"different texts in {count} rows, such as {short(next(filter(None, text)))!r}. Leave the "
        f"column out by --data.drop {column}, or as the names of rows by --data.index {column}."
    )


def _dates(text: Sequence[str | None], column: str, source: str) -> np.ndarray | None:
    r"""Dates as days since 1970, where every cell that is there is one."""
    there = [word for word in text if word is not None]
    if not there:
        return None
    if all(ISO_DATE.fullmatch(word) for word in there):
        read = datetime.fromisoformat
    elif pattern := next((p for p in OTHER_DATES if all(map(p.fullmatch, there))), None):
        read = _strptime(OTHER_DATES[pattern])
    elif all(map(SLASHED.fullmatch, there)):
        pairs = [SLASHED.fullmatch(word).groups() for word in there]  # type: ignore[union-attr]
        day_first = any(int(a) > 12 for a, _ in pairs)
        if day_first == any(int(b) > 12 for _, b in pairs):
            raise ValueError(
                f"Expected dates that can be read in one way in column {column!r} of {source}; "
                f"got {there[0]!r}. Write them as 2024-12-31, or leave the column out by "
                f"--data.drop {column}."
            )
        read = _strptime("%d/%m/%Y" if day_first else "%m/%d/%Y")
    else:
        return None
    try:
        return np.array([np.nan if word is None else _days(read(word)) for word in text])
    except ValueError as error:
        raise ValueError(
            f"Expected dates in column {column!r} of {source}; got one that is none ({error})."
        ) from None


def _strptime(pattern: str) -> Any:
    return lambda word: datetime.strptime(word, pattern)


def _days(when: date) -> float:
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (when - EPOCH) / timedelta(days=1)


def in_order(text: Sequence[str | None], order: Sequence[str]) -> tuple[str, ...]:
    return tuple(order) or tuple(sorted({word for word in text if word is not None}))


def _too_large(column: str, source: str) -> str:
    return (
        f"Expected numbers below 2^53 in column {column!r} of {source}; got larger whole numbers, "
        f"which look like identifiers. Leave the column out by --data.drop {column}."
    )


def short(cell: str) -> str:
    r"""A cell as far as a sentence has room for it."""
    return cell if len(cell) <= 40 else f"{cell[:37]}..."


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _order(column: Any) -> Any:
    r"""The categories of a column in their own order, where its type has some."""
    if hasattr(getattr(column, "type", None), "index_type"):  # pyarrow
        return column.unify_dictionaries().chunk(0).dictionary.to_pylist()
    return getattr(getattr(column, "dtype", None), "categories", None)
