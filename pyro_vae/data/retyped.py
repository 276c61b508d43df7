r"""Numbers of a model as a DataFrame again, with the types of the one that they came from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .cells import distinct
from .content import Column
from .dates import date_layout, write_date
from .frames import columns_by_name, is_frame
from .split import Split

DAY = 86_400e6  # microseconds


def to_dataframe(
    x: Any,
    like: Any,
    rows: Split | None = None,
    *,
    columns: Sequence[Column] | None = None,
    only_missing: bool = False,
) -> Any:
    r"""Returns data as a DataFrame, with the columns, types and categories of another one.

    Codes become categories again, days dates, whole numbers are rounded. It goes back from what
    :func:`from_dataframe` read: draws, reconstructions and completions of the model.

    Arguments:
        x: The data, of shape `(N, D)`; of category codes the nearest is taken.
        like: The DataFrame of pandas or polars that was read.
        rows: The rows of which `x` are, which then have their index.
        columns: The columns of `x`: those of `rows` by default, or `vae.columns`.
        only_missing: Whether to return the rows of `like` with all their columns, in which only
            what was missing is taken from `x`.

    Raises:
        ValueError: `like` is no DataFrame, or `x` has other columns or another number of rows.

    Example:
        >>> import pandas as pd
        >>> from pyro_vae.data import from_dataframe
        >>> frame = pd.DataFrame({"n": [1, 2, 3, 4], "word": ["a", "b", "b", "a"]})
        >>> data = from_dataframe(frame, quiet=True, valid=0, test=0)
        >>> to_dataframe([[2.2, 0.9]], frame, columns=data.train.columns)
           n word
        0  2    b
    """
    if not is_frame(like) or not hasattr(like, "columns") or hasattr(like, "column_names"):
        raise ValueError(
            "Expected the DataFrame of pandas or polars that was read as `like`; got an object of "
            f"type {type(like).__name__}."
        )
    if columns is None:
        if rows is None:
            raise ValueError("Expected the columns of x, by rows= or columns=; got neither.")
        columns = rows.columns
    x = np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != len(columns):
        raise ValueError(
            f"Expected data of shape (N, {len(columns)}), the columns that were read "
            f"({', '.join(column.name for column in columns)}); "
            f"got {x.shape}."
        )
    if rows is not None and len(rows) != len(x):
        raise ValueError(f"Expected {len(rows)} rows of data, as `rows` has; got {len(x)}.")
    if only_missing and rows is None:
        raise ValueError("Expected rows= with only_missing, the rows that x completes; got none.")
    numbers = None if rows is None else rows.row_numbers.cpu().numpy()
    named = columns_by_name(like)
    places = {name: i for i, name in enumerate(distinct([name for name, _ in named], []))}
    found = {}
    for j, column in enumerate(columns):
        place = places[column.name]
        found[place] = _values(x[:, j], column, named[place][1])
    make = _polars if type(like).__module__.startswith("polars") else _pandas
    return make(found, like, numbers, only_missing)


def _values(values: np.ndarray, column: Column, own: Any) -> Any:
    r"""A column as words, dates or numbers, NaN or None where missing."""
    there = ~np.isnan(values)
    if column.categories:
        last = len(column.categories) - 1
        codes = np.where(there, values, 0).round().clip(0, last).astype(int)
        return [column.categories[c] if t else None for c, t in zip(codes, there)]
    kind = np.asarray(own.to_numpy()).dtype.kind
    if kind == "m" or column.dates:
        spans = np.where(there, (np.where(there, values, 0) * DAY).round(), np.iinfo(np.int64).min)
        return spans.astype(np.int64).astype("m8[us]" if kind == "m" else "M8[us]")
    return values


def _pandas(found: dict[int, Any], like: Any, numbers: Any, only_missing: bool) -> Any:
    import pandas as pd

    index = None if numbers is None else like.index[numbers]
    series = {i: _as_series(values, like.iloc[:, i], index) for i, values in found.items()}
    if not only_missing:
        frame = pd.concat(series.values(), axis=1)
        frame.columns = like.columns[[*series]]
        return frame
    frame = like.iloc[numbers].copy()
    for i, values in series.items():
        own = frame.iloc[:, i]
        if own.isna().any():
            frame.isetitem(i, own.where(own.notna(), values))
    return frame


def _as_series(values: Any, own: Any, index: Any) -> Any:
    import pandas as pd

    dtype, kind = own.dtype, getattr(own.dtype, "kind", "O")
    if isinstance(dtype, pd.CategoricalDtype):
        words = dict(zip(map(str, dtype.categories), dtype.categories))
        values = pd.Categorical([words.get(value) for value in values], dtype=dtype)
        return pd.Series(values, index=index)
    series = pd.Series(values, index=index)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        if isinstance(dtype, pd.DatetimeTZDtype):
            return series.dt.tz_localize("UTC").astype(dtype)
        return series.astype(dtype) if kind == "M" else _written(series, own)
    if kind in "iufb" and isinstance(values, list):  # categories that were numbers
        series = pd.to_numeric(series)
    if kind in "iub":
        whole = series.round()
        whole = whole.clip(0, 1) if kind == "b" else whole
        plain = isinstance(dtype, np.dtype)
        return whole if plain and series.isna().any() else whole.astype("Int64").astype(dtype)
    if kind in "OUT" and isinstance(values, np.ndarray) and values.dtype.kind == "f":
        there = own.dropna()
        if len(there) and isinstance(there.iloc[0], str):  # numbers that were written as text
            series = series.map(lambda v: f"{v:.6g}", na_action="ignore")
    return series.astype(dtype)


def _written(series: Any, own: Any) -> Any:
    r"""Dates as a column of text, or of Python's dates, has them."""
    there = own.dropna()
    if not isinstance(there.iloc[0], str):
        whole = not hasattr(there.iloc[0], "hour")
        return series.map(lambda v: v.date() if whole else v.to_pydatetime(), na_action="ignore")
    layout = date_layout([*there], str(own.name), "the DataFrame") or "iso"
    times = any(":" in word for word in there)
    since = (series - np.datetime64(0, "us")) / np.timedelta64(1, "D")
    return since.map(lambda v: write_date(v, layout, times), na_action="ignore").astype(own.dtype)


def _polars(found: dict[int, Any], like: Any, numbers: Any, only_missing: bool) -> Any:
    import polars as pl

    like = like.collect() if isinstance(like, pl.LazyFrame) else like
    made = [_as_polars(values, like.to_series(i)) for i, values in found.items()]
    if not only_missing:
        return pl.DataFrame(made)
    frame = like[numbers.tolist()]
    for values in made:
        own = frame[values.name]
        gone = own.is_null() | own.is_nan() if own.dtype.is_float() else own.is_null()
        frame = frame.with_columns(values.zip_with(gone, own).alias(own.name))
    return frame


def _as_polars(values: Any, own: Any) -> Any:
    import polars as pl

    dtype, series = own.dtype, pl.Series(own.name, values)
    if dtype.is_temporal() and getattr(dtype, "time_zone", None):
        series = series.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
    if dtype.is_integer() or dtype == pl.Boolean:
        series = series.cast(pl.Float64).fill_nan(None).round()
        series = series.clip(0, 1) if dtype == pl.Boolean else series
    elif dtype.is_float():
        series = series.fill_nan(None)
    return series.cast(dtype)
