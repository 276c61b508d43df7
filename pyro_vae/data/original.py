r"""A table of text as its user wrote it, of which only missing cells change."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..writing import replacing
from .cells import Cells, Holes
from .content import Column
from .dates import date_layout, write_date
from .header import read_names
from .tables import renamed
from .text import number, read_lines

WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


class Original(NamedTuple):
    r"""A table of text.

    Attributes:
        first: The first line, if it names the columns.
        rows: The cells of the other lines.
        places: Where the columns of `x` are, by number.
        formats: How a number is written in each of them.
        separator: What separates cells.
    """

    first: list[str]
    rows: list[list[str]]
    places: list[int]
    formats: list[Callable[[float], str]]
    separator: str

    def filled(self, numbers: Sequence[int], x: np.ndarray, holes: np.ndarray) -> list[list[str]]:
        r"""Returns rows with their holes filled.

        Arguments:
            numbers: Which rows, from 0.
            x: Their numbers and codes, of shape `(B, D)`.
            holes: Which are to be written, of the same shape.
        """
        found = [[*self.rows[row]] for row in numbers]
        for i, j in zip(*np.nonzero(holes)):
            found[i][self.places[j]] = self.formats[j](float(x[i, j]))
        return found

    def write(self, out: Path, rows: Sequence[Sequence[str]], before: str = "") -> None:
        r"""Writes rows under the first line, in a file that is there once it is complete.

        Arguments:
            out: The file.
            rows: Its rows.
            before: The name of a column that stands before the others.
        """
        with replacing(out) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if self.first:
                writer.writerow([before, *self.first] if before else self.first)
            writer.writerows(rows)


def read_original(path: Path, options: Any, form: Mapping[str, Any]) -> Original:
    r"""Reads a table of text for its cells.

    Arguments:
        path: The file.
        options: How the training data were read (:class:`pyro_vae.config.File`).
        form: Their form, as a run records it.
    """
    lines = read_lines(path, options)
    first = [*lines.rows[0]]
    names, header = read_names(lines, path, options, [])
    places = [j for j, name in enumerate(names) if name not in options.drop]
    wanted = [*form["columns"], *form.get("known_columns", ())]
    cells = [Cells(names[j], None) for j in places]
    named = renamed(cells, {**form, "columns": wanted}, header, str(path))
    by_name = {cell.name: j for cell, j in zip(named, places)}
    columns = [Column(name, tuple(codes)) for name, codes in form["columns"]]
    found = [by_name[column.name] for column in columns]
    holes, formats = Holes(options), []
    for column, j in zip(columns, found):
        there = [row[j] for row in lines.rows if not holes.has(row[j], lines.decimal)]
        formats.append(_format(column, there, lines.decimal, str(path)))
    return Original(first if header else [], lines.rows, found, formats, lines.separator)


def _format(
    column: Column, there: Sequence[str], decimal: str, source: str
) -> Callable[[float], str]:
    r"""How numbers are written in a column with such cells."""
    if column.categories:
        last = len(column.categories) - 1
        return lambda value: column.categories[min(max(round(value), 0), last)]
    layout = date_layout(there, column.name, source) if there else None
    if layout is not None:
        times = any(":" in cell for cell in there)
        return lambda value: write_date(value, layout, times)
    mark = "," if decimal == "," else "."
    percent = bool(there) and all(cell.endswith("%") for cell in there)
    unit, after = (100, "%") if percent else (1, "")
    bare = [cell.removesuffix("%").rstrip() for cell in there] if percent else there
    if bare and all(_is_whole(cell, decimal) for cell in bare):
        return lambda value: f"{round(unit * value)}{after}"
    return lambda value: f"{_short(unit * value, mark)}{after}"


def _is_whole(cell: str, decimal: str) -> bool:
    r"""Whether a number is written without decimals, maybe with its digits grouped."""
    if WHOLE.fullmatch(cell):
        return True
    value = number(cell, decimal)
    mark = "," if decimal == "," else "."
    return value is not None and mark not in cell and value == round(value)


def _short(value: float, mark: str) -> str:
    r"""A number with six digits."""
    return repr(float(f"{value:.6g}")).replace(".", mark)
