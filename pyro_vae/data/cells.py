r"""Columns of a table before they are numbers: missing values, numbers in text, categories."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .content import Column, first_of
from .dates import DATES, read_dates
from .text import Lines, number

HOLES = ("", "na", "nan", "-nan", "n/a", "#n/a", "<na>", "?", "null", "none", "nat")
PADDED = re.compile(r"^[+-]?0\d+$", re.ASCII | re.MULTILINE)
ENDLESS = re.compile(r"^[+-]?\d{17,40}$", re.ASCII | re.MULTILINE)
OTHER_CHARACTERS = re.compile(r"[^0-9eE+\-.\n]")
WHOLE = 2**53  # up to here, double precision holds every whole number
LONGEST = 1e19  # above, whole numbers are measurements, not identifiers
MOST_CATEGORIES = 1000
FEW_CATEGORIES = 20


class Cells(NamedTuple):
    r"""A column before it is read: numbers (NaN where missing) or text (None where missing)."""

    name: str
    numbers: np.ndarray | None
    text: Sequence[str | None] = ()
    order: tuple[str, ...] = ()  # of categories, where the source has one
    note: str = ""
    fault: str = ""  # why it cannot be a feature
    dates: bool = False  # numbers that are days since 1970-01-01


class Holes:
    r"""Words and numbers that mark a missing value, and which of the user's have been seen."""

    def __init__(self, options: Any) -> None:
        self.own = {word.lower(): word for word in options.hole_words}
        self.words = {*(HOLES if options.usual_holes else ("",)), *self.own}
        self.numbers = {v: word for word in options.hole_words if (v := number(word)) is not None}
        self.met: set[str] = set()

    def has(self, cell: str, decimal: str = ".") -> bool:
        r"""Whether a cell of text is a missing value."""
        word = cell.lower()
        if word in self.words:
            self.met |= {self.own[word]} if word in self.own else set()
            return True
        value = number(cell, decimal) if self.numbers else None
        if value is None or value not in self.numbers:
            return False
        self.met.add(self.numbers[value])
        return True

    def to_nan(self, values: np.ndarray) -> np.ndarray:
        r"""The numbers, with NaN where one marks a missing value."""
        there = np.isin(values, [*self.numbers]) if self.numbers else np.array(False)
        if not there.any():
            return values
        self.met |= {word for value, word in self.numbers.items() if (values == value).any()}
        real = values.dtype if values.dtype.kind == "f" else np.float64
        return np.where(there, np.nan, values.astype(real))

    def report(self, facts: list[str]) -> None:
        r"""Reports which of the user's words do not occur."""
        if idle := [word for word in self.own.values() if word not in self.met]:
            facts.append(f"missing values: nothing is {', '.join(map(repr, idle))}")


def distinct(names: Sequence[str], facts: list[str]) -> list[str]:
    r"""The names of columns, made unique."""
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


def picked(
    cells: list[Cells], wanted: Sequence[str], source: str, facts: list[str]
) -> list[Cells]:
    r"""The columns of the training data, in their order."""
    by_name = {cell.name: cell for cell in cells}
    if missing := [name for name in wanted if name not in by_name]:
        raise ValueError(
            f"Expected the columns of the training data in {source}; got none called "
            f"{', '.join(missing[:10])}. Add columns of empty cells for unknown values."
        )
    if extra := [name or "one without a name" for name in by_name if name not in wanted]:
        facts.append(f"ignored, because they were not in the training data: {', '.join(extra)}")
    return [by_name[name] for name in wanted]


def text_columns(lines: Lines, names: list[str], source: str, options: Any) -> list[Cells]:
    r"""The columns of a table of text."""
    width = len(names)
    for row, line in zip(lines.rows, lines.numbers):
        if len(row) != width:
            raise ValueError(
                f"Expected {width} columns; got {len(row)} in {source}, line {line}. Quote cells "
                "that contain the separator, or set it with --data.separator."
            )
    if not lines.rows:
        raise ValueError(f"Expected rows below the names in {source}; got none.")
    holes = Holes(options)
    columns = [
        [None if holes.has(cell, lines.decimal) else cell for cell in column]
        for column in zip(*lines.rows)
    ]
    holes.report(lines.facts)
    padded = [bool(PADDED.search("\n".join(filter(None, column)))) for column in columns]
    layout = sum(padded) > 1 and 2 * sum(padded) >= width  # all numbers have leading zeros
    found = []
    for j, (name, column) in enumerate(zip(names, columns)):
        if name in options.categories and (order := in_order(column)):
            found.append(Cells(name, None, column, order))
            continue

        def place(i: int, j: int = j) -> str:
            return f"{source}, line {lines.numbers[i]}, column {j + 1}"

        words = padded[j] and not layout
        found.append(parse(name, column, source, place, words, lines.decimal))
    return found


def parse(
    name: str,
    text: Sequence[str | None],
    source: str,
    place: Callable[[int], str],
    words: bool,
    decimal: str = ".",
) -> Cells:
    r"""A column of text: numbers if every cell that is not missing is one and `words` is false."""
    if ENDLESS.search("\n".join(filter(None, text))):
        return Cells(name, None, text, fault=too_large(name, source))
    if words:
        return Cells(name, None, text)
    values = _plain_numbers(text) if decimal == "." else None
    if values is not None:
        return Cells(name, values)
    values = np.full(len(text), np.nan)
    percent = any(text) and all(cell is None or cell.endswith("%") for cell in text)
    for i, cell in enumerate(text):
        if cell is not None:
            value = number(cell.removesuffix("%").rstrip() if percent else cell, decimal)
            if value is None:
                return Cells(name, None, text, fault=_mixture(name, text, decimal, place))
            values[i] = value / 100 if percent else value
    return Cells(name, values, note=f"column {name}: percentages as fractions" if percent else "")


def _plain_numbers(text: Sequence[str | None]) -> np.ndarray | None:
    r"""All cells as :func:`number` reads them, at once, if they are in the most common format."""
    there = [cell for cell in text if cell is not None]
    if OTHER_CHARACTERS.search("\n".join(there)):
        return None
    try:
        found = np.fromiter(map(float, there), np.float64, len(there))
    except ValueError:
        return None
    if np.isinf(found).any():  # too many digits
        return None
    values = np.full(len(text), np.nan)
    values[[cell is not None for cell in text]] = found
    return values


def _mixture(
    name: str, text: Sequence[str | None], decimal: str, place: Callable[[int], str]
) -> str:
    r"""A message about a column of numbers and words: a typo, or a word for a missing value."""
    there = [(i, cell) for i, cell in enumerate(text) if cell is not None]
    words = [(i, cell) for i, cell in there if number(cell, decimal) is None]
    if len(words) == len(there):
        return ""
    i, cell = words[0]
    return (
        f"Expected a number; got {short(cell)!r} in {place(i)} ({name}). If it marks a missing "
        f"value, use --data.holes {short(cell)}; to treat all cells as categories, use "
        f"--data.categories {name}; to leave the column out, use --data.drop {name}."
    )


def text_of(cell: Cells) -> Sequence[str | None]:
    r"""The cells of a column as text, None where missing."""
    if cell.numbers is None:
        return cell.text
    values = cell.numbers.tolist()
    whole = [int(v) if float(v).is_integer() else v for v in values]
    return [None if v != v else str(v) for v in whole]


def features(
    cells: Sequence[Cells], known: dict[str, Any], source: str, facts: list[str]
) -> tuple[np.ndarray, tuple[Column, ...]]:
    r"""Columns as numbers, of shape `(N, D)`, with their names and categories.

    Arguments:
        cells: The columns.
        known: The categories in training, by column, for columns that had some.
        source: The name of the table in error messages.
        facts: Receives a line for each column of dates or categories.

    Raises:
        ValueError: A column holds neither numbers, dates nor categories.
    """
    found = [_values(cell, source, known.get(cell.name), facts) for cell in cells]
    return np.stack([values for values, _ in found], axis=1), tuple(column for _, column in found)


def _values(
    cell: Cells, source: str, wanted: Sequence[str] | None, facts: list[str]
) -> tuple[np.ndarray, Column]:
    r"""A column as numbers, and what they mean."""
    name = cell.name
    if cell.numbers is not None and not wanted:
        values = cell.numbers.astype(np.float64)
        there = values[np.isfinite(values)]
        if WHOLE < np.abs(there).max(initial=0) < LONGEST and (there == np.round(there)).all():
            raise ValueError(too_large(name, source))
        return values, Column(name, dates=cell.dates)
    if cell.fault and not wanted:
        raise ValueError(cell.fault)
    text = text_of(cell)
    if not wanted and (days := read_dates(text, name, source)) is not None:
        facts.append(DATES.format(name))
        return days, Column(name, dates=True)
    names = tuple(wanted or cell.order or in_order(text))
    if not wanted and not cell.order:
        _check_categories(text, names, name, source)
    codes = {category: float(i) for i, category in enumerate(names)}
    for i, word in enumerate(text):
        if word is not None and word not in codes:
            raise ValueError(
                f"Expected one of {', '.join(names[:20])} in column {name!r}, as in training; got "
                f"{short(word)!r} in {source}, row {i}. Change it to one of these, leave the "
                "cell empty, or train on data that contain it."
            )
    values = np.array([np.nan if word is None else codes[word] for word in text])
    listing = first_of([f"{c} {i}" for i, c in enumerate(names)], 8)
    facts.append(f"column {name}: {len(names)} categories, {listing}")
    return values, Column(name, names)


def _check_categories(
    text: Sequence[str | None], names: Sequence[str], column: str, source: str
) -> None:
    r"""Refuses text with a different value in nearly every row."""
    count = sum(word is not None for word in text)
    few = len(names) < count and (len(names) <= FEW_CATEGORIES or 2 * len(names) <= count)
    if not count or (few and len(names) <= MOST_CATEGORIES):
        return
    raise ValueError(
        f"Expected numbers or categories in column {column!r} of {source}; got {len(names)} "
        f"different texts in {count} rows, such as {short(next(filter(None, text)))!r}. Leave the "
        f"column out with --data.drop {column}, or, if it names the rows, --data.index {column}."
    )


def in_order(text: Sequence[str | None]) -> tuple[str, ...]:
    r"""The distinct words of a column, sorted."""
    return tuple(sorted({word for word in text if word is not None}))


def too_large(column: str, source: str) -> str:
    r"""A message about whole numbers that double precision cannot represent."""
    return (
        f"Expected numbers below 2^53 in column {column!r} of {source}; got larger whole numbers, "
        f"which look like identifiers. Leave the column out with --data.drop {column}."
    )


def short(cell: str) -> str:
    r"""A cell, shortened to fit into a sentence."""
    return cell if len(cell) <= 40 else f"{cell[:37]}..."
