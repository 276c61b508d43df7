r"""Whether the first line of a text table names the columns or is data."""

import re
from pathlib import Path
from typing import Any

from .cells import Holes, distinct, short
from .text import Lines, number

YEAR = re.compile(r"(1[89]|20|21)\d\d", re.ASCII)


def read_names(lines: Lines, path: Path, options: Any, facts: list[str]) -> tuple[list[str], bool]:
    r"""Returns the names of the columns, and whether they are in the first line, which is then
    removed."""
    first, rest = lines.rows[0], lines.rows[1:]
    named_rows = bool(rest) and all(len(row) == len(first) + 1 for row in rest)
    header = options.header
    if header == "auto":
        header = "yes" if named_rows else _header(first, rest, lines, path, options)
    if header == "no":
        facts.append("the first line is data; columns are numbered from 0")
        return [str(j) for j in range(len(first))], False
    del lines.rows[0], lines.numbers[0]
    if named_rows:
        if len({row[0] for row in rest}) < len(rest):
            raise ValueError(
                f"Expected {len(first)} cells, as many as there are names in {path}; got "
                f"{len(first) + 1} per line, and the first are not row names, as some repeat. "
                "Quote cells that contain the separator, or name every column."
            )
        facts.append("lines have one cell more than there are names: the first cell names the row")
        first = ["", *first]
    names = distinct(first, facts)
    if all(number(name) is not None for name in names if name):
        facts.append(
            "the first line, ascending numbers, names the columns (--data.header no: it is data)"
        )
    else:
        facts.append("the first line names the columns")
    return names, True


def _header(
    first: list[str], rest: list[list[str]], lines: Lines, path: Path, options: Any
) -> str:
    r"""Decides from the whole first line whether it holds names or data."""
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
    if any(first[j] in columns[j] for j in words):  # a value that is repeated below
        return "no"
    if len(words) == len(there):
        return "yes"
    for j in words:
        cells = [cell for cell in columns[j] if not holes.has(cell)]
        if cells and all(map(is_number, cells)):  # a word above numbers, next to numbers
            raise ValueError(
                f"Expected either names or data in the first line of {path}; got both, as in "
                f"{', '.join(map(short, first[:6]))}. Use --data.header yes or no."
            )
    return "no"


def _names_by_numbers(numbers: list[str], below: set[str]) -> bool:
    r"""Whether numbers are names: 0, 1, 2, ... or ascending years, unlike the cells below them."""
    if numbers == [str(j) for j in range(len(numbers))]:
        fractions = all("." in cell or "," in cell or "e" in cell.lower() for cell in below)
        return len(numbers) > 2 or (bool(below) and fractions)
    years = all(YEAR.fullmatch(cell) for cell in numbers) and len(numbers) > 1
    return years and numbers == sorted({*numbers}) and not any(map(YEAR.fullmatch, below))
