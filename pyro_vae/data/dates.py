r"""Dates in columns of text, as days since 1970-01-01."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

DATES = "column {}: dates, as days since 1970-01-01"
SPANS = "column {}: durations, as days"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO_DATE = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
OTHER_DATES = {
    re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}", re.ASCII): "%d.%m.%Y",
    re.compile(r"\d{4}/\d{1,2}/\d{1,2}", re.ASCII): "%Y/%m/%d",
}
SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/\d{4}", re.ASCII)


def days(when: date) -> float:
    r"""The days from 1970-01-01 to a date or a time, in UTC if it has no time zone.

    Example:
        >>> days(date(1970, 1, 3)), days(datetime(1970, 1, 1, 12))
        (2.0, 0.5)
    """
    if not isinstance(when, datetime):
        when = datetime(when.year, when.month, when.day)
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return (when - EPOCH) / timedelta(days=1)


def read_dates(text: Sequence[str | None], column: str, source: str) -> np.ndarray | None:
    r"""Returns dates as days since 1970 if every cell that is not missing is a date, else None.

    Raises:
        ValueError: The dates are ambiguous, such as 1/2/2024, or one is not a date.
    """
    there = [word for word in text if word is not None]
    if not there:
        return None
    layout = date_layout(there, column, source)
    if layout is None:
        return None
    read: Any = datetime.fromisoformat if layout == "iso" else _reader(layout)
    try:
        return np.array([np.nan if word is None else days(read(word)) for word in text])
    except ValueError as error:
        raise ValueError(
            f"Expected dates in column {column!r} of {source}; got something else ({error})."
        ) from None


def date_layout(there: Sequence[str], column: str, source: str) -> str | None:
    r"""Returns how dates are written, ``"iso"`` or a format of :func:`time.strftime`; None if a
    cell is no date.

    Raises:
        ValueError: The dates are ambiguous, such as 1/2/2024.
    """
    if all(map(ISO_DATE.fullmatch, there)):
        return "iso"
    if pattern := next((p for p in OTHER_DATES if all(map(p.fullmatch, there))), None):
        return OTHER_DATES[pattern]
    if not all(map(SLASHED.fullmatch, there)):
        return None
    pairs = [SLASHED.fullmatch(word).groups() for word in there]  # type: ignore[union-attr]
    day_first = any(int(a) > 12 for a, _ in pairs)
    if day_first == any(int(b) > 12 for _, b in pairs):
        raise ValueError(
            f"Expected unambiguous dates in column {column!r} of {source}; "
            f"got {there[0]!r}. Write them as 2024-12-31, or leave the column out with "
            f"--data.drop {column}."
        )
    return "%d/%m/%Y" if day_first else "%m/%d/%Y"


def write_date(value: float, layout: str, times: bool) -> str:
    r"""Writes days since 1970-01-01 as a date.

    Arguments:
        value: The number of days.
        layout: What :func:`date_layout` returned.
        times: Whether ISO dates have a time of day.

    Example:
        >>> write_date(19723.4, "iso", False), write_date(19723.5, "%d.%m.%Y", False)
        ('2024-01-01', '01.01.2024')
    """
    when = EPOCH + timedelta(days=value)
    if layout != "iso":
        return when.strftime(layout)
    if not times:
        return when.date().isoformat()
    return when.replace(tzinfo=None).isoformat(sep=" ", timespec="seconds")


def _reader(pattern: str) -> Any:
    return lambda word: datetime.strptime(word, pattern)
