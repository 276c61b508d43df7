r"""Tables written as text: encoding, separator, decimal mark. Findings are reported."""

import csv
import gzip
import re
import sys
import zlib
from collections.abc import Iterable
from math import isinf
from pathlib import Path
from typing import Any, NamedTuple

from .unpacking import most_bytes, read_at_most

MAX_BYTES = 4 << 30
LARGE = 30_000_000  # takes more than three seconds
SAMPLE = 100  # lines from which the separator is detected
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "spaces"}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.I)
DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+(e[+-]?\d+)?", re.ASCII | re.I)
GROUPED_COMMA = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", re.ASCII)
GROUPED_POINT = re.compile(r"[+-]?\d{1,3}(\.\d{3})+", re.ASCII)


class Lines(NamedTuple):
    r"""Rows of cells, stripped of whitespace, with their line numbers, what separates them, how
    numbers are written, and the findings."""

    rows: list[list[str]]
    numbers: list[int]
    separator: str
    decimal: str
    facts: list[str]


def read_lines(path: Path, options: Any) -> Lines:
    r"""Reads a table written as text.

    Arguments:
        path: The file, which may be compressed (.gz).
        options: ``encoding``, ``separator`` and ``decimal``, each detected if it is "auto".

    Raises:
        ValueError: The file is not a table.
    """
    facts: list[str] = []
    text = _decode(path, options.encoding, facts)
    lines = re.split("\r\n|\n|\r", text)
    start = 1
    if lines and (hint := re.fullmatch(r'"?sep=(.)"?', lines[0].strip(), re.I)):  # Excel's hint
        lines, start = lines[1:], 2
        separator = hint[1]
    elif options.separator == "auto":
        separator = _separator(lines)
    else:
        separator = {"\\t": "\t", "tab": "\t", "space": " "}.get(
            options.separator, options.separator
        )
        if len(separator) != 1 or separator in '"\r\n':
            raise ValueError(
                "Expected data.separator as one character (or tab, space), not a quote; got "
                f"{options.separator!r}."
            )
    if separator != "," and any(separator in line for line in lines):
        facts.append(f"columns are separated by {SEPARATORS.get(separator, repr(separator))}")
    rows, numbers = _rows(lines, separator, path, start)
    if not rows:
        raise ValueError(f"Expected a table in {path}; got an empty file.")
    decimal = options.decimal
    if decimal == "auto":
        decimal = _decimal((cell for row in rows for cell in row if "," in cell), rows, separator)
        if decimal == "mixed":
            raise ValueError(
                f"Expected one decimal mark in {path}; got numbers with a point and numbers with "
                "a comma. Choose one with --data.decimal."
            )
        if decimal == ",":
            facts.append("numbers have a decimal comma")
        elif decimal == "1,000":
            facts.append("commas group the digits of numbers by thousands")
    return Lines(rows, numbers, separator, decimal, facts)


def number(cell: str, decimal: str = ".") -> float | None:
    r"""Returns the number in a cell, in ASCII digits, or None.

    Example:
        >>> number("-1.5e3"), number("1_000"), number("1.234,5", ","), number("1,234.5", "1,000")
        (-1500.0, None, 1234.5, 1234.5)
    """
    if "," in cell and decimal != ".":
        pattern = DECIMAL_COMMA if decimal == "," else GROUPED_COMMA
        if not pattern.fullmatch(cell):
            return None
        cell = cell.replace(".", "").replace(",", ".") if decimal == "," else cell.replace(",", "")
        return float(cell)
    if decimal == "," and "." in cell:
        return float(cell.replace(".", "")) if GROUPED_POINT.fullmatch(cell) else None
    if not NUMBER.fullmatch(cell):
        return None
    value = float(cell)
    return None if isinf(value) and "f" not in cell.lower() else value  # too many digits


def _decode(path: Path, encoding: str, facts: list[str]) -> str:
    try:
        most = MAX_BYTES
        if path.suffix == ".gz":
            most = min(most, most_bytes(path))
            with gzip.open(path, "rb") as file:
                raw = read_at_most(file, most + 1)
        else:
            with path.open("rb") as file:
                raw = read_at_most(file, most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Expected a table in {path}; got {error}.") from None
    if len(raw) > LARGE:
        print(f"Reading {path}, {len(raw) / 1e6:.0f} MB of text.", file=sys.stderr, flush=True)
    if len(raw) > most:
        raise ValueError(
            f"Expected a table below {most / 1e9:.1f} GB in {path}; save it as .npy or .parquet."
        )
    try:
        if encoding != "auto":
            text = raw.decode(encoding)
        elif mark := next((mark for mark in MARKS if raw.startswith(mark)), None):
            text = raw.decode(MARKS[mark])
        else:
            text = _guess(raw, facts)
    except (UnicodeError, LookupError) as error:
        raise ValueError(
            f"Expected text in {path}; got {error}. Set its encoding, as in "
            "--data.encoding cp1252."
        ) from None
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise ValueError(f"Expected text in {path}; got a file with zero bytes, which is binary.")
    return text


def _guess(raw: bytes, facts: list[str]) -> str:
    r"""Decodes text without a mark: UTF-16 by its zero bytes, else UTF-8, else cp1252."""
    head = raw[:1000]
    if head.count(0) > len(head) // 4:
        order = "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        facts.append(f"the text is {order}")
        return raw.decode(order)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        facts.append("the text is not UTF-8 and is read as cp1252 (--data.encoding sets another)")
        return raw.decode("cp1252", errors="replace")


def _separator(lines: list[str]) -> str:
    r"""The separator that splits all of the first lines into equally many cells, more than one."""
    sample = [line for line in lines if line.strip()][:SAMPLE]
    uneven = ("", 0.0)
    for separator in SEPARATORS:
        try:
            rows = list(_cells(sample, separator))
        except csv.Error:
            continue
        widths = [len(cells) for cells, _ in rows[1:] or rows]
        usual = max(set(widths), key=widths.count, default=0)
        if usual < 2:
            continue
        header = len(rows[0][0])
        if separator == "," and header == 1 and _decimals(sample[1:]):
            return ";"  # one column of numbers with decimal commas
        share = widths.count(usual) / len(widths)
        if share == 1.0 and header in (usual, usual - 1):  # R writes no name above row names
            return separator
        if share > max(0.5, uneven[1]):
            uneven = (separator, share)
    return uneven[0] or ","


def _decimals(lines: list[str]) -> bool:
    r"""Whether the lines below a single name are decimal commas, not numbered rows."""
    if not all(DECIMAL_COMMA.fullmatch(line.strip()) for line in lines):
        return False
    first = [line.strip().partition(",")[0] for line in lines]
    return not any(first == [str(i + k) for i in range(len(first))] for k in (0, 1))


def _cells(lines: Iterable[str], separator: str) -> Iterable[tuple[list[str], int]]:
    if separator == " ":
        lines = [f"{line.strip()}\n" for line in lines]
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    for cells in reader:
        yield cells, reader.line_num


def _rows(
    lines: list[str], separator: str, path: Path, start: int
) -> tuple[list[list[str]], list[int]]:
    rows, numbers = [], []
    csv.field_size_limit(1 << 30)
    try:
        for cells, line in _cells([line + "\n" for line in lines], separator):
            cells = [cell.strip() for cell in cells]
            if any(cells) or (cells and len(cells) > 1):
                rows.append(cells)
                numbers.append(line + start - 1)
    except csv.Error as error:
        raise ValueError(
            f"Expected a table in {path}; got {error}, line {(numbers or [start - 1])[-1] + 1}. "
            "Close every quote."
        ) from None
    while rows and rows[0][0].startswith("#"):  # comments, or names after a mark
        names = [rows[0][0].lstrip("#").strip(), *rows[0][1:]]
        names = names if names[0] or separator != " " else names[1:]
        if len(rows) == 1 or len(names) == len(rows[-1]):
            rows[0] = names
            break
        rows, numbers = rows[1:], numbers[1:]
    return rows, numbers


def _decimal(cells: Iterable[str], rows: list[list[str]], separator: str) -> str:
    r"""How numbers are written: "." or "," before decimals, or "1,000" if commas group digits."""
    found = {c for c in cells if DECIMAL_COMMA.fullmatch(c) or GROUPED_COMMA.fullmatch(c)}
    if not found:
        return "."
    points = any(
        "." in cell and NUMBER.fullmatch(cell) and not GROUPED_POINT.fullmatch(cell)
        for row in rows
        for cell in row
    )
    grouped = all(GROUPED_COMMA.fullmatch(cell) for cell in found)
    if grouped and (points or separator == "," or any("." in cell for cell in found)):
        return "1,000"
    if points:
        return "mixed"
    return "," if all(DECIMAL_COMMA.fullmatch(cell) for cell in found) else "mixed"
