"""Sequences: padded, in chunks, and the sets that have a name."""

import hashlib
import json

import numpy as np
import pytest
import torch
from checks import needs_data

import pyro_vae as pv
from pyro_vae.data import as_split, load, pad, sequences

NAN = float("nan")
PIECES = {
    "train": [[[60, 64], [], [108]], [[21]], [[30], [31], [32], [33], [34]]],
    "valid": [[[60], [61]]],
    "test": [[[62]] * 4, [[63], []]],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Small sets of the same form, whose digests replace the true ones."""
    rng = np.random.default_rng(0)
    text = json.dumps(PIECES)
    count = 120
    arrays = {
        "logmel": rng.integers(256, size=(count, 32, 32), dtype=np.uint8),
        "label": np.arange(count, dtype=np.uint8) // 12,
        "speaker": np.arange(count, dtype=np.uint8) % 2,
        "index": np.arange(count, dtype=np.uint8) % 12 // 2,
        "speakers": np.array(["george", "lucas"]),
    }
    for name in ("jsb_chorales", "fsdd"):
        (tmp_path / name).mkdir()
    (tmp_path / "jsb_chorales" / sequences.JSB).write_text(text)
    np.savez(tmp_path / "fsdd" / sequences.FSDD, **arrays)
    monkeypatch.setattr(sequences, "JSB_SHA256", hashlib.sha256(text.encode()).hexdigest())
    digest = hashlib.sha256(arrays["logmel"].tobytes()).hexdigest()
    monkeypatch.setattr(sequences, "FSDD_SHA256", digest)
    return tmp_path


def test_padding_is_nan_behind_the_ends():
    x = pad([torch.ones(2, 3), torch.zeros(4, 3)])
    assert x.shape == (2, 4, 3) and bool(x[0, 2:].isnan().all())
    assert bool((x[0, :2] == 1).all() and (x[1] == 0).all())
    assert pad([torch.ones(2, 3)], 5).shape == (1, 5, 3)
    for wrong in ([], [torch.ones(2, 3), torch.ones(2, 2)], [torch.ones(3)]):
        with pytest.raises(ValueError, match="Expected"):
            pad(wrong)
    with pytest.raises(ValueError, match="at most 1; got"):
        pad([torch.ones(2, 3)], 1)


def test_chunks_joined_are_the_sequences():
    x = pad([torch.randn(length, 2) for length in (7, 3, 6, 1)])
    split = sequences.in_chunks(
        as_split(x, y=torch.arange(4.0)).take(torch.tensor([0, 1, 2, 3])), 3
    )
    assert split.x_shape == (3, 2) and len(split) == 3 + 1 + 2 + 1
    for row in range(4):
        own = split.stored[split.numbers == row].flatten(0, 1)
        assert torch.equal(own[~own.isnan().any(-1)], x[row][~x[row].isnan().any(-1)])
    assert split.known["y"].tolist() == [0, 0, 0, 1, 2, 2, 3]
    whole = sequences.in_chunks(as_split(torch.arange(48, dtype=torch.uint8).view(2, 8, 3)), 4)
    assert whole.stored.dtype is torch.uint8 and len(whole) == 4


def test_chorales_are_piano_rolls(folder):
    data = load("jsb-chorales", folder)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [3, 1, 2]
    x = data.train.rows(slice(None))
    assert x.shape == (3, 5, 88) and data.all().x_shape == (5, 88)
    assert (x[0, 0] == 1).nonzero().flatten().tolist() == [60 - 21, 64 - 21]
    assert float(x[0, 1].sum()) == 0 and float(x[0, 2, 87]) == 1 and float(x[1, 0, 0]) == 1
    assert bool(x[0, 3:].isnan().all()) and bool(x[1, 1:].isnan().all())
    chunks = load("jsb-chorales", folder, steps=2)
    assert chunks.train.x_shape == (2, 88) and len(chunks.train) == 2 + 1 + 3
    assert "3 training sequences are cut into 6 chunks of 2 steps" in chunks.notes
    assert torch.equal(chunks.test.stored.nan_to_num(-1), data.test.stored.nan_to_num(-1))
    with pytest.raises(ValueError, match="Expected splits of one shape"):
        chunks.all()


def test_spoken_digits_have_two_labels(folder):
    data = load("fsdd", folder, valid=15)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [5, 15, 100]
    assert data.train.x_shape == (32, 32) and data.train.classes == tuple("0123456789")
    with np.load(folder / "fsdd" / sequences.FSDD) as arrays:
        row = int(data.test.numbers[7])
        assert np.array_equal(data.test.stored[7].numpy(), arrays["logmel"][row].T)
        assert int(data.test.labels[7]) == arrays["label"][row] and arrays["index"][row] < 5
    known = {"y": "label", "s": "speaker"}
    other = load("fsdd", folder, valid=0, label="speaker", known=known, steps=10)
    assert other.train.classes == ("george", "lucas") and other.valid is None
    assert torch.equal(other.train.known["s"], other.train.known["y"])
    assert other.train.x_shape == (10, 32) and len(other.train) == 4 * 20
    both = load("fsdd", folder, known={"y": "label", "s": "speaker"})
    assert both.test.known["y"].shape == (100, 10) and both.test.known["s"].shape == (100, 2)
    assert bool((both.test.known["s"].argmax(1) == both.test.numbers % 2).all())
    with pytest.raises(ValueError, match=r'Expected data.known.y as "label"'):
        load("fsdd", folder, known={"y": "sex"})


def test_bad_and_absent_files_are_one_sentence(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kind in ("jsb-chorales", "fsdd"):
        with pytest.raises(ValueError, match=f"Expected the data set '{kind}'; got none"):
            load(kind, tmp_path / "nowhere")
    (folder / "jsb_chorales" / sequences.JSB).write_text("{}")
    with pytest.raises(ValueError, match=r"Expected .*jsb.* with sha256"):
        load("jsb-chorales", folder)
    file = folder / "fsdd" / sequences.FSDD
    whole = file.read_bytes()
    file.write_bytes(whole[:-2000])
    with pytest.raises(ValueError, match=r"Expected arrays of numbers in .*; got"):
        load("fsdd", folder)
    np.savez(file, logmel=np.zeros((3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"Expected arrays called .*label.*; got logmel"):
        load("fsdd", folder)
    monkeypatch.setattr(sequences, "FSDD_SHA256", "0")
    file.write_bytes(whole)
    with pytest.raises(ValueError, match="of the 3000 recordings"):
        load("fsdd", folder)


@needs_data
def test_the_real_sets():
    jsb = pv.data.jsb_chorales()
    assert [len(s) for s in (jsb.train, jsb.valid, jsb.test)] == [229, 76, 77]
    x = jsb.train.rows(slice(None))
    there = ~x.isnan()
    assert torch.equal(there.any(-1), there.all(-1))
    notes = x.nan_to_num().sum(-1)[there.any(-1)]
    assert 3.5 < float(notes.mean()) < 4  # four voices
    fsdd = pv.data.fsdd()
    assert [len(s) for s in (fsdd.train, fsdd.valid, fsdd.test)] == [2430, 270, 300]
    assert fsdd.test.labels.bincount().tolist() == [30] * 10
