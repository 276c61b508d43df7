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
    if all(map(ISO_DATE.fullmatch, there)):
        read: Any = datetime.fromisoformat
    elif pattern := next((p for p in OTHER_DATES if all(map(p.fullmatch, there))), None):
        read = _reader(OTHER_DATES[pattern])
    elif all(map(SLASHED.fullmatch, there)):
        pairs = [SLASHED.fullmatch(word).groups() for word in there]  # type: ignore[union-attr]
        day_first = any(int(a) > 12 for a, _ in pairs)
        if day_first == any(int(b) > 12 for _, b in pairs):
            raise ValueError(
                f"Expected unambiguous dates in column {column!r} of {source}; "
                f"got {there[0]!r}. Write them as 2024-12-31, or leave the column out with "
                f"--data.drop {column}."
            )
        read = _reader("%d/%m/%Y" if day_first else "%m/%d/%Y")
    else:
        return None
    try:
        return np.array([np.nan if word is None else days(read(word)) for word in text])
    except ValueError as error:
        raise ValueError(
            f"Expected dates in column {column!r} of {source}; got something else ({error})."
        ) from None


def _reader(pattern: str) -> Any:
    return lambda word: datetime.strptime(word, pattern)
