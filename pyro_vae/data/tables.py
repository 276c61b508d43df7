r"""What a reader of tables cannot know: names or data, labels, row numbers, missing columns.

Each decision is a line of :attr:`Table.facts`, and can be taken otherwise by an option.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cells import (
    WHOLE,
    Cells,
    Column,
    Holes,
    distinct,
    in_order,
    picked,
    read_arrow,
    short,
    text_columns,
    text_of,
    typed_columns,
    values_of,
)
from .text import Lines, number, read_lines

YEAR = re.compile(r"(1[89]|20|21)\d\d", re.ASCII)
LABELS = ("label", "labels", "class", "target", "y")
NAMELESS = ("", "unnamed: 0", "__index_level_0__")  # what readers call an index
IDS = ("id", "index", "idx", "row", "rowid", "row_id")
COUNTERS = ("nr", "no")


class Table(NamedTuple):
    r"""A table of numbers.

    Attributes:
        x: The features, of shape `(N, D)`, with NaN in the holes.
        columns: Their names, and the names of their codes.
        labels: A label for each row: a class, -1 where it is missing, or a real number.
        label: The name of the label column.
        classes: What the labels 0, 1, ... are called, where they were text.
        facts: What was decided, a line each.
    """

    x: np.ndarray
    columns: tuple[Column, ...]
    labels: np.ndarray | None
    label: str | None
    classes: tuple[str, ...]
    facts: list[str]


def read_table(path: Path, options: Any, form: Mapping[str, Any] | None = None) -> Table:
    r"""Reads a table of text, or of parquet and feather (extra ``tables``).

    Arguments:
        path: The file.
        options: A :class:`pyro_vae.config.File`, whose options decide what is not "auto".
        form: How another table was read, of which columns and codes are those wanted.

    Raises:
        ValueError: Naming file, line and column, and what to do.
    """
    if path.suffix.lower() in (".parquet", ".feather", ".arrow"):
        facts: list[str] = []
        cells = typed_columns(read_arrow(path), str(path), options, facts)
        header = True
    else:
        lines = read_lines(path, options)
        facts = lines.facts
        names, header = _names(lines, path, options, facts)
        cells = text_columns(lines, names, path, options)
    return _assemble(cells, str(path), header, options, facts, form)


def _names(lines: Lines, path: Path, options: Any, facts: list[str]) -> tuple[list[str], bool]:
    r"""The names of the columns, taken from the first line where it holds names."""
    first, rest = lines.rows[0], lines.rows[1:]
    named_rows = bool(rest) and all(len(row) == len(first) + 1 for row in rest)
    header = options.header
    if header == "auto":
        header = "yes" if named_rows else _header(first, rest, lines, path, options)
    if header == "no":
        facts.append("the first line is data; columns are called by their numbers, from 0")
        return [str(j) for j in range(len(first))], False
    del lines.rows[0], lines.numbers[0]
    if named_rows:
        if len({row[0] for row in rest}) < len(rest):
            raise ValueError(
                f"Expected {len(first)} cells, as many as there are names in {path}; got "
                f"{len(first) + 1} in every line, and the first name no rows, as some come again. "
                "Quote cells that hold the separator, or name every column."
            )
        facts.append("lines have one cell more than there are names: the first names the row")
        first = ["", *first]
    names = distinct(first, facts)
    if all(number(name) is not None for name in names if name):
        facts.append(
            "the first line, numbers in order, names the columns (--data.header no: it is data)"
        )
    else:
        facts.append("the first line names the columns")
    return names, True


def _header(
    first: list[str], rest: list[list[str]], lines: Lines, path: Path, options: Any
) -> str:
    r"""Decides on the whole first line whether it holds names or data."""
    holes = Holes(options)

    def is_number(cell: str) -> bool:
        return number(cell, lines.decimal) is not None

    columns = [[row[j] for row in rest if j < len(row)] for j in range(len(first))]
    there = [j for j, cell in enumerate(first) if not holes.has(cell)]
    words = [j for j in there if not is_number(first[j])]
    counts = [first[j] for j in there if j not in words]
    below = {cell for j in there if j not in words for cell in columns[j] if not holes.has(cell)}
    if rest and counts and _names_by_numbers(counts, below):
        return "yes"
    if not words or not rest:
        return "no" if counts or not words else "yes"
    if any(first[j] in columns[j] for j in words):  # a value that comes again
        return "no"
    if len(words) == len(there):
        return "yes"
    for j in words:
        cells = [cell for cell in columns[j] if not holes.has(cell)]
        if cells and all(map(is_number, cells)):  # a word above numbers, beside numbers
            raise ValueError(
                f"Expected either names or data in the first line of {path}; got both, as in "
                f"{', '.join(map(short, first[:6]))}. Say --data.header yes or no."
            )
    return "no"


def _names_by_numbers(numbers: list[str], below: set[str]) -> bool:
    r"""Whether numbers are names: 0, 1, 2, ... or years in order, unlike what is below them."""
    if numbers == [str(j) for j in range(len(numbers))]:
        fractions = all("." in cell or "," in cell or "e" in cell.lower() for cell in below)
        return len(numbers) > 2 or (bool(below) and fractions)
    years = all(YEAR.fullmatch(cell) for cell in numbers) and len(numbers) > 1
    return years and numbers == sorted({*numbers}) and not any(map(YEAR.fullmatch, below))


def _assemble(
    cells: list[Cells],
    source: str,
    header: bool,
    options: Any,
    facts: list[str],
    form: Mapping[str, Any] | None,
) -> Table:
    r"""Columns as features and labels, by the options or by the form of another table."""
    known = {cell.name for cell in cells}
    if options.label in options.drop and not form:
        raise ValueError(
            f"Expected a label column that is not left out; got data.label {options.label!r} and "
            "the same in data.drop. Labels are no feature anyway: say --data.label alone."
        )
    for option in ("label", "index"):
        name = getattr(options, option)
        if name not in ("auto", "none", *known) and not form:
            raise ValueError(_no_column(f"data.{option}", name, known, source))
    for option in ("drop", "categories"):
        for name in getattr(options, option):
            if name not in known and not form:
                raise ValueError(_no_column(f"data.{option}", name, known, source))
    total = len(cells)
    if dropped := [c.name for c in cells if c.name in options.drop]:
        facts.append(f"left out as told: {', '.join(dropped)}")
    cells = [cell for cell in cells if cell.name not in options.drop]
    if form:
        cells = _renamed(cells, form, header, source)
    else:
        cells = _without_row_numbers(cells, header, options, facts)
    label = form["label"] if form else _label(cells, options, facts)
    target = next((cell for cell in cells if cell.name == label), None)
    cells = [cell for cell in cells if cell is not target]
    wanted: dict[str, tuple[str, ...] | None] = {cell.name: None for cell in cells}
    if form:
        wanted = {name: tuple(categories) or None for name, categories in form["columns"]}
        cells = picked(cells, [*wanted], source, facts)
    if not cells:
        raise ValueError(
            f"Expected columns of features in {source}; got {total} columns and none left. See "
            "--data.label and --data.index."
        )
    for j, cell in enumerate(cells):
        if not cell.name:
            cells[j] = cell._replace(name=str(j))
            facts.append(f"a column without a name is called {j}, its place from 0")
    facts.extend(cell.note for cell in cells if cell.note)
    found = [values_of(cell, source, wanted.get(cell.name), facts) for cell in cells]
    x = np.stack([values for values, _ in found], axis=1)
    columns = tuple(Column(cell.name, names) for cell, (_, names) in zip(cells, found))
    _tell_holes(x, columns, facts)
    labels, classes = (None, ()) if target is None else _labels(target, form, facts)
    return Table(x, columns, labels, label, classes, facts)


def _without_row_numbers(
    cells: list[Cells], header: bool, options: Any, facts: list[str]
) -> list[Cells]:
    r"""Leaves out a column that numbers or names the rows, and an empty one at a line's end."""
    if len(cells) > 1 and not cells[-1].name and _empty(cells[-1]):
        facts.append("left out: an empty last column without a name")
        cells = cells[:-1]
    if options.index == "none":
        return cells
    for j, cell in enumerate(cells):
        if options.index != "auto":
            chosen = cell.name == options.index
        else:
            named = cell.name.lower() in (*NAMELESS, *IDS, *COUNTERS) if header else j == 0
            chosen = named and len(cells) > 1 and _numbers_rows(cell)
        if chosen:
            name = f"column {cell.name}" if cell.name else "the column without a name"
            does = "names" if cell.numbers is None else "numbers"
            facts.append(f"left out: {name}, which {does} the rows (--data.index none keeps it)")
            return cells[:j] + cells[j + 1 :]
    return cells


def _numbers_rows(cell: Cells) -> bool:
    r"""Whether a column counts the rows, or has another value in each as an index has."""
    name = cell.name.lower()
    if cell.numbers is None:
        every = None not in cell.text and len({*cell.text}) == len(cell.text)
        return name in NAMELESS and every
    steps = np.diff(cell.numbers)
    if len(steps) > 1 and cell.numbers[0] in (0, 1) and bool((steps == 1).all()):
        return True
    every = len(steps) > 0 and len(np.unique(cell.numbers)) == len(cell.numbers)
    every = every and not np.isnan(cell.numbers).any()
    if name in NAMELESS:
        return every
    whole = bool((cell.numbers == np.round(cell.numbers)).all())
    return name in IDS and every and whole and len(steps) > 1


def _label(cells: list[Cells], options: Any, facts: list[str]) -> str | None:
    if options.label == "none":
        return None
    if options.label != "auto":
        return str(options.label)
    names = {cell.name.lower(): cell.name for cell in cells}
    found = [names[name] for name in LABELS if name in names]
    if not found or len(cells) == 1:
        return None
    label = found[0]
    if label.lower() == "y" and ("x" in names or "z" in names):
        facts.append(f"column {label} is a feature beside x (--data.label {label}: the label)")
        return None
    told = f"; {', '.join(found[1:])} stays a feature" if found[1:] else ""
    facts.append(f"label column: {label} (--data.label none: a feature){told}")
    return label


def _labels(
    cell: Cells, form: Mapping[str, Any] | None, facts: list[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    r"""Labels as classes, or as real numbers where they have fractions."""
    if cell.numbers is not None and not (form and form["classes"]):
        values = cell.numbers.astype(np.float64)
        there = values[~np.isnan(values)]
        missing = len(values) - len(there)
        told = f", {missing} of them missing" if missing else ""
        if ((there == np.round(there)) & (np.abs(there) < WHOLE) & (there >= 0)).all():
            facts.append(f"labels are whole numbers{told and told + ' (-1)'}")
            return np.where(np.isnan(values), -1, values).astype(np.int64), ()
        facts.append(f"labels are real numbers{told}")
        return values, ()
    text = text_of(cell)
    classes = list(form["classes"] if form else in_order(text, cell.order))
    classes += sorted({t for t in text if t} - {*classes})
    codes = {name: i for i, name in enumerate(classes)}
    labels = np.array([codes.get(t or "", -1) for t in text])
    missing = int((labels < 0).sum())
    facts.append(
        f"{len(classes)} classes: {', '.join(classes[:10])}{' ...' if classes[10:] else ''}"
        + (f"; -1 where there is none, {missing} times" if missing else "")
    )
    return labels, tuple(classes)


def _renamed(
    cells: list[Cells], form: Mapping[str, Any], header: bool, source: str
) -> list[Cells]:
    r"""Columns by the names of the training data, where one of the two files has no names."""
    names = [name for name, _ in form["columns"]]
    if all(name.isdigit() for name in names):
        return [cell._replace(name=str(j)) for j, cell in enumerate(cells)]
    if header:
        return cells
    if len(cells) != len(names):
        raise ValueError(
            f"Expected the {len(names)} columns of the training data in {source}; got "
            f"{len(cells)} without names. Give the names in the first line."
        )
    return [cell._replace(name=name) for cell, name in zip(cells, names)]


def _tell_holes(x: np.ndarray, columns: Sequence[Column], facts: list[str]) -> None:
    holes = np.isnan(x).sum(0)
    some = [f"{c.name} {n}" for c, n in zip(columns, holes) if 0 < n < len(x)]
    empty = [c.name for c, n in zip(columns, holes) if n == len(x)]
    if some:
        more = f" and {len(some) - 8} more columns" if some[8:] else ""
        facts.append(f"holes: {', '.join(some[:8])}{more}")
    if empty:
        facts.append(f"without any value: column {', '.join(empty)}")


def _empty(cell: Cells) -> bool:
    return cell.numbers is not None and bool(np.isnan(cell.numbers.astype(np.float64)).all())


def _no_column(option: str, name: str, known: set[str], source: str) -> str:
    return (
        f"Expected one of the columns {', '.join(sorted(known)[:20])} for {option}; got {name!r}, "
        f"which {source} does not have."
    )
