r"""What a reader of tables has to decide: names or data, labels, row numbers, missing columns.

Each decision is a line of ``Content.facts``, and an option overrides it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cells import Cells, features, in_order, picked, text_columns, text_of
from .content import Column, Content, first_of, whole_labels
from .frames import read_arrow, typed_columns
from .header import read_names
from .text import read_lines

TYPED = (".parquet", ".feather", ".arrow")
LABELS = ("label", "labels", "class", "target", "y")
NAMELESS = ("", "unnamed: 0", "__index_level_0__")  # names that other tools give an index
IDS = ("id", "index", "idx", "row", "rowid", "row_id")
COUNTERS = ("nr", "no")
Form = Mapping[str, Any] | None


def read_table(path: Path, options: Any, form: Form = None) -> Content:
    r"""Reads a text table, or parquet and feather (extra ``tables``).

    Arguments:
        path: The file.
        options: A :class:`pyro_vae.config.File`; what is "auto" there is decided here.
        form: How another table was read, whose columns and codes are required.

    Raises:
        ValueError: The table cannot be read; the message names file, line, column and remedy.
    """
    if path.suffix.lower() in TYPED:
        return read_typed(read_arrow(path), str(path), options, form)
    lines = read_lines(path, options)
    names, header = read_names(lines, path, options, lines.facts)
    cells = text_columns(lines, names, str(path), options)
    return _assemble(cells, str(path), header, options, lines.facts, form)


def read_typed(frame: Any, source: str, options: Any, form: Form = None) -> Content:
    r"""Reads a DataFrame or a pyarrow table, as :func:`read_table` reads a file."""
    facts: list[str] = []
    cells = typed_columns(frame, source, options, facts)
    return _assemble(cells, source, True, options, facts, form)


def _assemble(
    cells: list[Cells], source: str, header: bool, options: Any, facts: list[str], form: Form
) -> Content:
    r"""Columns as features and labels, by the options or by the form of another table."""
    if not form:
        _check_names(cells, source, options)
    total = len(cells)
    if dropped := [c.name for c in cells if c.name in options.drop]:
        facts.append(f"left out by --data.drop: {', '.join(dropped)}")
    cells = [cell for cell in cells if cell.name not in options.drop]
    if form:
        cells = renamed(cells, form, header, source)
    else:
        cells = _without_row_numbers(cells, header, options, facts)
    label = form["label"] if form else _label(cells, options, facts)
    target = next((cell for cell in cells if cell.name == label), None)
    cells = [cell for cell in cells if cell is not target]
    known: dict[str, Any] = dict(form["columns"]) if form else {}
    if form:
        cells = picked(cells, [*known], source, facts)
    if not cells:
        raise ValueError(
            f"Expected columns of features in {source}; got {total} columns, none of them left. "
            "See --data.label and --data.index."
        )
    for j, cell in enumerate(cells):
        if not cell.name:
            cells[j] = cell._replace(name=str(j))
            facts.append(f"a column without a name is called {j}, its position from 0")
    facts.extend(cell.note for cell in cells if cell.note)
    x, columns = features(cells, known, source, facts)
    _report_holes(x, columns, facts)
    labels, classes = ({}, ()) if target is None else _labels(target, form, facts)
    return Content({"": x}, labels, columns, label, classes, facts)


def _check_names(cells: list[Cells], source: str, options: Any) -> None:
    r"""Refuses options that name a column the table does not have."""
    known = {cell.name for cell in cells}
    if options.label in options.drop:
        raise ValueError(
            f"Expected a label column that is not left out; got data.label {options.label!r} and "
            "the same in data.drop. Labels are not a feature anyway: use only --data.label."
        )
    named = [(o, getattr(options, o)) for o in ("label", "index")]
    named = [(option, name) for option, name in named if name not in ("auto", "none")]
    named += [(option, n) for option in ("drop", "categories") for n in getattr(options, option)]
    for option, name in named:
        if name not in known:
            raise ValueError(
                f"Expected one of the columns {', '.join(sorted(known)[:20])} for data.{option}; "
                f"got {name!r}, which {source} does not have."
            )


def _without_row_numbers(
    cells: list[Cells], header: bool, options: Any, facts: list[str]
) -> list[Cells]:
    r"""Leaves out a column that numbers or names the rows, and an empty one at a line's end."""
    last = cells[-1].numbers if len(cells) > 1 and not cells[-1].name else None
    if last is not None and bool(np.isnan(last.astype(np.float64)).all()):
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
    r"""Whether a column counts the rows, or has a different value in each, as an index has."""
    name = cell.name.lower()
    if cell.numbers is None:
        every = None not in cell.text and len({*cell.text}) == len(cell.text)
        return name in NAMELESS and every
    values, steps = cell.numbers, np.diff(cell.numbers)
    if len(steps) > 1 and values[0] in (0, 1) and bool((steps == 1).all()):
        return True
    every = len(steps) > 0 and len(np.unique(values)) == len(values) and not np.isnan(values).any()
    whole = len(steps) > 1 and bool((values == np.round(values)).all())
    return every and (name in NAMELESS or (name in IDS and whole))


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
        facts.append(f"column {label} next to x is a feature (--data.label {label}: the label)")
        return None
    others = f"; {', '.join(found[1:])} stays a feature" if found[1:] else ""
    facts.append(f"label column: {label} (--data.label none: a feature){others}")
    return label


def _labels(
    cell: Cells, form: Form, facts: list[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    r"""Labels as classes, or as real numbers if they are not all whole."""
    if cell.numbers is not None and not (form and form["classes"]):
        values = cell.numbers.astype(np.float64)
        missing = int(np.isnan(values).sum())
        absent = f", {missing} of them missing" if missing else ""
        if (whole := whole_labels(values)) is not None:
            facts.append(f"labels are whole numbers{absent and absent + ' (-1)'}")
            return {"": whole}, ()
        facts.append(f"labels are real numbers{absent}")
        return {"": values}, ()
    text = text_of(cell)
    classes = list(form["classes"] if form else cell.order or in_order(text))
    classes += sorted({t for t in text if t} - {*classes})
    codes = {name: i for i, name in enumerate(classes)}
    labels = np.array([codes.get(t or "", -1) for t in text])
    missing = int((labels < 0).sum())
    facts.append(
        f"{len(classes)} classes: {first_of(classes)}"
        + (f"; {missing} labels are missing (-1)" if missing else "")
    )
    return {"": labels}, tuple(classes)


def renamed(cells: list[Cells], form: Mapping[str, Any], header: bool, source: str) -> list[Cells]:
    r"""Names columns as in the training data, if one of the two files has no names."""
    names = [name for name, _ in form["columns"]]
    if all(name.isdigit() for name in names):
        return [cell._replace(name=str(j)) for j, cell in enumerate(cells)]
    if header:
        return cells
    if len(cells) != len(names):
        raise ValueError(
            f"Expected the {len(names)} columns of the training data in {source}; got "
            f"{len(cells)} without names. Add the names as the first line."
        )
    return [cell._replace(name=name) for cell, name in zip(cells, names)]


def _report_holes(x: np.ndarray, columns: Sequence[Column], facts: list[str]) -> None:
    holes = np.isnan(x).sum(0)
    some = [f"{c.name} {n}" for c, n in zip(columns, holes) if 0 < n < len(x)]
    empty = [c.name for c, n in zip(columns, holes) if n == len(x)]
    if some:
        more = f" and {len(some) - 8} more columns" if some[8:] else ""
        facts.append(f"missing values: {', '.join(some[:8])}{more}")
    if empty:
        facts.append(f"without any value: column {', '.join(empty)}")
