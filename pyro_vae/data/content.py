r"""The contents of a file."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Column(NamedTuple):
    r"""A column of a table: its name, the categories of its codes 0, 1, ... if it has some, and
    whether its numbers are dates, as days since 1970-01-01."""

    name: str
    categories: tuple[str, ...] = ()
    dates: bool = False


@dataclass
class Content:
    r"""The contents of a file.

    Attributes:
        x: The data, in one piece (under ``""``) or by split; missing values are NaN.
        labels: The labels, under the same keys: a class for each row, -1 where it is missing, or a
            real number.
        columns: The columns of a table.
        label: The name of the label column.
        classes: The names of the labels 0, 1, ... if they were text.
        facts: What was decided, one line per decision.
    """

    x: dict[str, Any]
    labels: dict[str, Any] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    label: str | None = None
    classes: tuple[str, ...] = ()
    facts: list[str] = field(default_factory=list)


def whole_labels(values: np.ndarray) -> np.ndarray | None:
    r"""Returns labels as classes, -1 where they are missing (NaN), if all are whole numbers from 0
    that double precision can represent; else None."""
    there = values[~np.isnan(values)].astype(np.float64)
    if ((there == np.round(there)) & (there >= 0) & (there < 2**53)).all():
        return np.where(np.isnan(values), -1, values).astype(np.int64)
    return None


def first_of(names: Any, count: int = 10) -> str:
    r"""The first few names, for a sentence."""
    names = [*names]
    return f"{', '.join(names[:count])}{' ...' if names[count:] else ''}"
