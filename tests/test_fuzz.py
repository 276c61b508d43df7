"""Ten thousand generated files and recipes: each is read completely, or refused in a sentence.

None of them makes a reader raise another error, take more memory than a multiple of the file, or hang.
`make test` tries some hundreds.
"""

import csv
import functools
import gzip
import io
import json
import math
import struct
import tempfile
import time
import tomllib
import tracemalloc
from contextlib import contextmanager
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
from pyro_vae.runs import CheckpointCorrupt, RunFolder, storage

MEGABYTES = 8  # that a reader may take,
TIMES = 200  # and as many times the size of its file
SECONDS = 10  # of the processor
quiet = {"deadline": None, "derandomize": True, "suppress_health_check": [*HealthCheck]}


def fuzzed(count, few, *strategies):
    """Runs a test on `count` generated inputs in `make test-all`, on `few` in `make test`."""

    def decorate(check):
        sizes = [few, pytest.param(count, marks=pytest.mark.slow)]

        @pytest.mark.parametrize("size", sizes)
        @functools.wraps(check)
        def test(size):
            settings(max_examples=size, **quiet)(given(*strategies)(check))()

        del test.__wrapped__
        return test

    return decorate


@contextmanager
def bounded(size):
    """Neither memory nor time beyond what a file of this size is worth."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert time.process_time() - start < SECONDS
    assert peak < MEGABYTES * 1e6 + TIMES * size, (peak, size)


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
            with bounded(len(content)):
                return pv.data.load(config.File(path=path, valid=0, test=0, **options))
        except ValueError as error:
            assert type(error) is ValueError, error
            assert str(error).startswith("Expected") and "\n" not in str(error).strip(), str(error)
            return None


@fuzzed(
    1000,
    30,
    tables(),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
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


@fuzzed(
    500, 20,
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


@fuzzed(
    1000, 30,
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


@fuzzed(
    500, 20,
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


@fuzzed(
    1000,
    30,
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


# --- Damaged and forged files -------------------------------------------------------------------

WORDS = [
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"[" * 3000,
    b"-1",
    b"1e999",
    b"nan",
]
WORDS += [
    b"\r",
    b"\n\n",
    b'"',
    b"\xef\xbb\xbf",
    b",",
    b";",
    b"9" * 400,
    b"{",
    b"'",
    b"= ",
    b"PK\x05\x06",
]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 2, 4, 8, 100_000]), st.one_of(
        st.sampled_from(WORDS), st.binary(max_size=6), st.integers(0, 7).map(lambda bit: bit))),
    min_size=1, max_size=4,
)  # fmt: skip


def damaged(content, edits):
    """Exchanges bytes for words, deletes them, cuts the rest off, or flips bits."""
    found = bytearray(content)
    for place, length, word in edits:
        at = round(place * len(found))
        if isinstance(word, int):
            if at < len(found):
                found[at] ^= 1 << word
        else:
            found[at : at + length] = word
    return bytes(found)


def npy(x):
    buffer = io.BytesIO()
    np.save(buffer, x)
    return buffer.getvalue()


def npz(save, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


X = np.arange(24, dtype=np.uint8).reshape(4, 6)
IDX = struct.pack(">HBB2I", 0, 8, 2, 4, 6) + X.tobytes()
FILES = {
    "a-idx2-ubyte": IDX,
    "a-idx2-ubyte.gz": gzip.compress(IDX, mtime=0),
    "a.npy": npy(X / 7),
    "a.npz": npz(np.savez, x=X, labels=np.arange(4)),
    "b.npz": npz(
        np.savez_compressed, x_train=X / 7, x_test=X[:2] / 7, y_train=np.array([*"abca"])
    ),
    "a.csv": b"a,b,label\n1,2.5,x\n3,,y\n4,1e3,x\n",
    "b.csv": "größe;datum;zahl\n1,5;2020-01-31;10 %\n2,5;2021-02-01;20 %\n".encode("cp1252"),
}


@fuzzed(3500, 150, st.sampled_from(sorted(FILES)), EDITS)
def test_damaged_files_of_data(name, edits):
    read(name, damaged(FILES[name], edits))


@fuzzed(
    800,
    30,
    st.integers(0, 255),
    st.lists(st.integers(0, 2**32 - 1), max_size=6),
    st.binary(max_size=40),
)
def test_headers_of_idx(kind, shape, body):
    header = struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape)
    dataset = read("a-idx", header + body)
    if dataset is not None:
        assert len(dataset.train) == shape[0]


TOML = {
    name: to_toml(validate(read_recipe(name))).encode()
    for name in ("digits", "table", "digits-m2")
}


@fuzzed(1000, 40, st.sampled_from(sorted(TOML)), EDITS)
def test_damaged_recipes(name, edits):
    content = damaged(TOML[name], edits)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.toml"
        path.write_bytes(content)
        try:
            with bounded(len(content)):
                recipe = validate(read_recipe(path))
        except ValueError as error:
            assert type(error) is ValueError and str(error)
            return
        assert validate(tomllib.loads(to_toml(recipe))) == recipe


# --- Forged checkpoints -------------------------------------------------------------------------


@functools.cache
def checkpoint():
    """The bytes of each file of a checkpoint, as a training writes it."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = validate(read_recipe("digits-plain"))
        record = {"recipe": recipe.model_dump(mode="json"), "data": {"sizes": {"train": 10}}}
        state = {
            "record": {**record, "x_shape": [1, 8, 8], "scale": 16.0},
            "position": {"step": 3, "epoch": 1, "batch": 0, "finished": False},
            "families": ["StandardNormal"], "columns": [["a", ["x", "y"]]], "seed": 0,
        }  # fmt: skip
        model = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.int64)}
        path = storage.save(Path(folder), 3, {"model": model, "best": {}}, state)
        return {file.name: file.read_bytes() for file in path.iterdir()}


def read_forged(files, sign=True):
    """Reads a checkpoint of these files, under a manifest that lists them as they are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints" / "step-00000003"
        path.mkdir(parents=True)
        for name, content in files.items():
            (path / name).write_bytes(content)
        if sign:
            (path / "manifest.json").unlink()
            listed = {}
            for name in files.keys() - {"manifest.json"}:
                (path / name).unlink()
                listed[name] = storage._write(path / name, files[name])
            (path / "manifest.json").write_bytes(storage._manifest(3, listed))
        try:
            with bounded(sum(map(len, files.values()))):
                tensors, state = storage.read(path)
                RunFolder(folder).record_in(path, state)
        except CheckpointCorrupt as error:
            assert str(error).startswith("Expected") and "\n" not in str(error), error
        except ValueError as error:  # of a recipe
            assert type(error) is ValueError and str(error)
        else:
            assert all(torch.is_tensor(t) for group in tensors.values() for t in group.values())


@fuzzed(700, 30, EDITS)
def test_damaged_headers_of_tensors(edits):
    files = checkpoint()
    name = "model.safetensors"
    read_forged({**files, name: damaged(files[name], edits)})


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)  # fmt: skip


def exchanged(value, path, other):
    """A JSON value with another one somewhere inside."""
    if not path or not isinstance(value, dict | list) or not value:
        return other
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    copy = value.copy()
    copy[key] = exchanged(value[key], path[1:], other)
    return copy


@fuzzed(700, 30, st.lists(st.integers(0, 20), max_size=5), JSON)
def test_states_of_other_contents(path, other):
    files = checkpoint()
    state = exchanged(json.loads(files["state.json"]), path, other)
    read_forged({**files, "state.json": json.dumps(state).encode()})


@fuzzed(300, 20, st.lists(st.integers(0, 20), max_size=3), JSON, EDITS, st.booleans())
def test_manifests_of_other_contents(path, other, edits, whole):
    files = checkpoint()
    text = files["manifest.json"]
    if whole:
        manifest = exchanged(json.loads(text), path, other)
        text = json.dumps(manifest, indent=1).encode() + b"\n"
    else:
        text = damaged(text, edits)
    read_forged({**files, "manifest.json": text}, sign=False)
