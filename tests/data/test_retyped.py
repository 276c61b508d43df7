"""What a model says of a table, as a DataFrame again."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import pyro_vae as pv
from pyro_vae.data import from_dataframe, to_dataframe


def frame(count=40):
    rng = np.random.default_rng(0)
    days = pd.to_datetime("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, count), "D")
    return pd.DataFrame(
        {
            "real": rng.normal(size=count),
            "half": rng.normal(size=count).astype("float32"),
            "whole": rng.integers(0, 9, count),
            "small": rng.integers(0, 9, count).astype("int8"),
            "nullable": pd.array(rng.integers(0, 9, count), dtype="Int64"),
            "flag": rng.random(count) < 0.5,
            "word": rng.choice(["red", "green"], count),
            "ordered": pd.Categorical(rng.choice(["low", "high"], count), ["low", "mid", "high"], ordered=True),
            "grade": pd.Categorical(rng.choice([3, 1], count), [3, 2, 1]),
            "when": days,
            "zoned": days.tz_localize("Europe/Berlin"),
            "took": pd.to_timedelta(rng.integers(0, 99, count), "h"),
            "date": [day.date() for day in days],
            "written": [f"{day:%d.%m.%Y}" for day in days],
        },
        index=pd.Index([f"row {i}" for i in range(count)], name="id"),
    )  # fmt: skip


def exact(split):
    """The rows as they were read, in double precision."""
    return torch.as_tensor(np.asarray(split.stored), dtype=torch.float64)


def test_what_was_read_comes_back():
    table = frame()
    data = from_dataframe(table, quiet=True, label="none")
    for split in data.splits.values():
        again = to_dataframe(exact(split), table, split)
        pd.testing.assert_frame_equal(again, table.iloc[split.numbers.numpy()])


def test_new_rows_have_types_and_categories():
    table = frame()
    data = from_dataframe(table, quiet=True, label="word", valid=0, test=0)
    columns = data.train.columns
    new = to_dataframe(2 * torch.randn(7, len(columns)), table, columns=columns)
    assert [*new.index] == [*range(7)]
    wanted = table.drop(columns="word").dtypes
    pd.testing.assert_series_equal(new.dtypes, wanted)
    assert new["ordered"].cat.categories.tolist() == ["low", "mid", "high"]


def test_only_what_is_missing_is_taken():
    table = frame()
    whole = table.copy()
    table.loc["row 3", ["real", "ordered", "nullable", "when", "word"]] = None
    table.loc["row 5", "whole"] = None
    data = from_dataframe(table, quiet=True, label="none", valid=0, test=0)
    columns = [column.name for column in data.train.columns]
    x = exact(data.train)
    x[x.isnan()] = 1.0
    filled = to_dataframe(x, table, data.train, only_missing=True)
    assert [*filled.columns] == [*table.columns] and {*filled.index} == {*table.index}
    assert not filled.isna().any().any() and len(columns) == len(table.columns)
    assert filled.loc["row 3", "real"] == 1.0 and filled.loc["row 3", "nullable"] == 1
    assert filled.loc["row 3", "ordered"] == "mid" and filled.loc["row 5", "whole"] == 1
    assert filled.loc["row 3", "when"] == pd.Timestamp("1970-01-02")
    others = [i for i in table.index if i not in ("row 3", "row 5")]
    pd.testing.assert_frame_equal(filled.loc[others], whole.loc[others], check_dtype=False)


def test_polars_comes_back():
    table = pl.DataFrame(
        {
            "real": [0.5, None, 2.5, 1.0],
            "whole": [1, 2, None, 4],
            "flag": [True, False, True, True],
            "word": ["a", "b", "b", "a"],
            "day": [datetime.date(2024, 1, i) for i in (1, 2, 3, 4)],
            "zoned": pl.Series([datetime.datetime(2024, 5, i) for i in (1, 2, 3, 4)]).dt.replace_time_zone("Asia/Tokyo"),
            "kind": pl.Series(["x", "y", "y", "x"], dtype=pl.Enum(["y", "x"])),
        }
    )  # fmt: skip
    data = from_dataframe(table, quiet=True, label="none", valid=0, test=0)
    rows = data.train
    again = to_dataframe(exact(rows), table, rows)
    assert again.schema == table.schema and again.equals(table[rows.row_numbers.tolist()])
    filled = to_dataframe(exact(rows).nan_to_num(3.0), table, rows, only_missing=True)
    assert sorted(filled["whole"]) == [1, 2, 3, 4] and sorted(filled["real"]) == [0.5, 1.0, 2.5, 3]


@pytest.mark.filterwarnings("ignore:Not to be trusted")
def test_a_table_goes_round_through_a_model():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=60), "n": rng.integers(0, 5, 60), "c": rng.choice(["x", "y"], 60)})  # fmt: skip
    table.loc[::7, "a"] = np.nan
    data = from_dataframe(table, quiet=True, label="none")
    net, MLP = pv.likelihoods, pv.nn.MLP
    parts = [([0, 1], net.Gaussian(MLP(8, [], 2))), ([2], net.Bernoulli(MLP(8, [], 1)))]
    encoder = torch.nn.Sequential(pv.nn.Observed(), MLP(6, [8], 4))
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        net.Product(MLP(2, [8], 8), parts),
        pv.posteriors.MeanFieldNormal(encoder),
    )
    pv.fit(vae, data.train, epochs=2, progress=False)
    new = to_dataframe(pv.sample(vae, 5), table, columns=vae.columns)
    assert new.dtypes.equals(table.dtypes) and {*new["c"]} <= {"x", "y"}
    found = pv.impute(vae, data.train, num_particles=100)
    rows = data.train
    filled = to_dataframe(pv.views.single(found, rows.columns), table, rows, only_missing=True)
    there = table.loc[filled.index].notna()
    pd.testing.assert_frame_equal(filled.where(there), table.loc[filled.index])
    assert not filled.isna().any().any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t, s: to_dataframe(torch.zeros(3, 2), [1], s), "as `like`; got .* list"),
        (
            lambda t, s: to_dataframe(torch.zeros(3, 2), t, s),
            r"shape \(N, 1\).*\(a\).*got \(3, 2\)",
        ),
        (lambda t, s: to_dataframe(torch.zeros(3, 1), t, s), "Expected 4 rows of data.*got 3"),
        (lambda t, s: to_dataframe(torch.zeros(3, 1), t), "by rows= or columns="),
        (
            lambda t, s: to_dataframe(torch.zeros(4, 1), t, columns=s.columns, only_missing=True),
            "rows=",
        ),
    ],
)
def test_mistakes_get_a_sentence(call, words):
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 5.0]})
    split = from_dataframe(table, quiet=True, valid=0, test=0).train
    with pytest.raises(ValueError, match=words):
        call(table, split)
