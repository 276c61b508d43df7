"""Two thousand generated files and recipes: each is read completely, or refused in a sentence."""

import csv
import io
import math
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pyro_vae as pv
from pyro_vae import config
from pyro_vae.config import override, read_recipe, recipes, to_toml, validate
from pyro_vae.data import as_split

pytestmark = pytest.mark.slow
quiet = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

CELLS = {
    "number": st.floats(-1e6, 1e6).map(lambda v: f"{v:.3f}"),
    "whole": st.integers(-1000, 1000).map(str),
    "word": st.sampled_from(["red", "blue", "Größe 1", 'say "hi"', "a,b", "x;y", "two\nlines"]),
    "hole": st.sampled_from(["", "NA", "nan", "?", "null"]),
    "odd": st.text(max_size=8).filter(lambda t: "\0" not in t and "\r" not in t),
}


@st.composite
def tables(draw):
    width = draw(st.integers(1, 5))
    kinds = [draw(st.sampled_from(["number", "whole", "word", "odd"])) for _ in range(width)]
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        rows.append(
            [
                draw(CELLS["hole"] if draw(st.integers(0, 9)) == 0 else CELLS[kind])
                for kind in kinds
            ]
        )
    return kinds, rows


def write(rows, separator, encoding):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(encoding, errors="replace")


def read(name, content, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            return pv.data.load(config.File(path=path, valid=0, test=0, **options))
        except ValueError as error:
            assert type(error) is ValueError, error
            assert str(error).startswith("Expected") and "\n" not in str(error).strip(), str(error)
            return None


@settings(max_examples=500, **quiet)
@given(
    tables(), st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"])
)
def test_tables_of_any_cells(table, separator, encoding):
    kinds, rows = table
    names = [f"{kind} {j}" for j, kind in enumerate(kinds)]
    dataset = read("t.csv", write([names, *rows], separator, encoding))
    if dataset is not None:
        blank = (
            sum(not any(cell.strip() for cell in row) for row in rows) if len(kinds) == 1 else 0
        )
        assert len(rows) - blank <= len(dataset.train) <= len(rows)


@settings(max_examples=400, **quiet)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(2, 20), st.integers(1, 6)),
               elements=st.floats(-1e5, 1e5).map(lambda v: round(v, 3) + 0.0)),
    st.booleans(), st.sampled_from(",;\t"), st.booleans(), st.data(),
)  # fmt: skip
def test_tables_of_numbers_are_read_exactly(x, header, separator, comma, data):
    """Every value, whatever the header, the separator and the decimal mark."""
    comma = comma and separator != ","
    x = x.copy()
    holes = data.draw(hnp.arrays(bool, x.shape, elements=st.sampled_from([False] * 9 + [True])))
    x[holes] = np.nan
    written = [["" if math.isnan(v) else f"{v:.3f}" for v in row] for row in x]
    if comma:
        written = [[cell.replace(".", ",") for cell in row] for row in written]
    names = [[f"column {'abcdef'[j]}" for j in range(x.shape[1])]] if header else []
    dataset = read(
        "t.csv", write([*names, *written], separator, "utf-8"), header="yes" if header else "no",
        index="none", label="none", decimal="," if comma else ".", separator=separator,
    )  # fmt: skip
    assert dataset is not None
    blank = np.isnan(x).all(1) if x.shape[1] == 1 else np.zeros(len(x), bool)
    wanted = x[~blank]
    order = dataset.train.row_numbers.argsort()
    found = dataset.train.stored.numpy()[order.numpy()]
    if found.shape == wanted.shape:
        np.testing.assert_array_equal(found, wanted)
    else:  # an empty last column without a name
        assert not header and np.isnan(wanted[:, -1]).all()


NAMES = [
    "x",
    "y",
    "train",
    "test",
    "val",
    "x_train",
    "y_train",
    "testImages",
    "labels",
    "counts",
    "id",
    "arr_0",
    "data",
    "a b",
    "ü",
]


@settings(max_examples=500, **quiet)
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        hnp.arrays(
            hnp.scalar_dtypes(),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        ),
        min_size=0, max_size=4,
    )
)  # fmt: skip
def test_archives_of_any_arrays(arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    dataset = read("a.npz", buffer.getvalue())
    if dataset is not None:
        sizes = {len(a) for a in arrays.values() if a.ndim}
        assert {len(s) for s in dataset.splits.values()} <= sizes


@settings(max_examples=300, **quiet)
@given(
    hnp.arrays(
        st.one_of(hnp.integer_dtypes(endianness="?"), hnp.unsigned_integer_dtypes(endianness="?"),
                  hnp.floating_dtypes(endianness="?"), hnp.boolean_dtypes()),
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6),
    )
)  # fmt: skip
def test_arrays_of_any_numbers(x):
    try:
        split = as_split(x)
    except ValueError as error:
        assert str(error).startswith("Expected") and int(x.max()) > 2**63 - 1
        return
    with np.errstate(over="ignore"):
        wanted = np.asarray(x, dtype=np.float64)
        single = wanted.astype(np.float32)
    found = split.rows(slice(None))
    assert found.dtype == torch.float32 and len(found) == len(x)
    np.testing.assert_array_equal(found.numpy(), single)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6),
    st.lists(st.integers(-2, 300), max_size=3), st.sampled_from(["vamp", "mlp", "gaussian", "iaf", "product", "file"]),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
KEYS = [
    "name", "seed", "device", "latent_dim", "data", "data.kind", "data.seed", "data.path", "prior",
    "prior.kind", "prior.num_components", "likelihood.kind", "likelihood.decoder", "likelihood.parts",
    "likelihood.decoder.kind", "likelihood.decoder.hidden_features", "posterior.kind",
    "posterior.encoder.activation", "train.lr", "train.epochs", "train.optimizer_options",
    "train.nope", "nope", "nope.nope", "prior.kind.kind",
]  # fmt: skip


@settings(max_examples=300, **quiet)
@given(
    st.sampled_from(sorted(recipes())),
    st.dictionaries(st.sampled_from(KEYS), VALUES, min_size=1, max_size=3),
)
def test_recipes_of_any_settings(name, flags):
    try:
        recipe = validate(override(read_recipe(name), flags))
    except ValueError as error:
        assert type(error) is ValueError and str(error)
        return
    assert validate(tomllib.loads(to_toml(recipe))) == recipe
