"""Every format of file gives the same data, or is refused with a message."""

import gzip
import io
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae import config
from pyro_vae.data import load
from pyro_vae.data.archives import read_idx
from pyro_vae.data.files import read

GREY = torch.randint(
    256, (500, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def own(path, **options):
    return load(config.File(path=path, **options))


def idx_bytes(array, *, kind=8, shape=None):
    shape = shape or array.shape
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + array.tobytes()


def test_every_format_gives_the_same_data(tmp_path):
    x = GREY.numpy()[:30, 0]
    labels = np.arange(30) % 3
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "b.npz", x=x, labels=labels)
    (tmp_path / "c-idx3-ubyte").write_bytes(idx_bytes(x))
    (tmp_path / "d-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(x), mtime=0))
    for i, (image, label) in enumerate(zip(x, labels)):
        folder = tmp_path / "e" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    for name in ("a.npy", "b.npz", "c-idx3-ubyte", "d-idx3-ubyte.gz"):
        data = own(tmp_path / name, range="unit")
        assert data.train.x_shape == (1, 4, 4) and data.train.levels == 255
        rows = torch.cat([data.train.stored, data.valid.stored, data.test.stored])[:, 0]
        assert sorted(rows.flatten(1).tolist()) == sorted(x.reshape(30, -1).tolist())
    assert own(tmp_path / "b.npz").train.labels.max() == 2
    folder = own(tmp_path / "e", valid=0, test=0)
    assert len(folder.train) == 30 and torch.bincount(folder.train.labels).tolist() == [10, 10, 10]


def test_tables(tmp_path):
    (tmp_path / "a.csv").write_text("u,v,label\n1,2.5,0\n3,4,1\n5,6,1\n")
    table = own(tmp_path / "a.csv", valid=0, test=0)
    assert table.train.x_shape == (2,) and table.train.levels is None
    assert sorted(table.train.labels.tolist()) == [0, 1, 1]
    for text, message in [
        ("u,v\n1,2\n3,x\n", r"'x' in .*line 3, column 2"),
        ("1,2\n3\n", "line 2"),
        ("", "empty"),
    ]:
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            own(tmp_path / "bad.csv")


def test_npz_with_splits(tmp_path):
    np.savez(
        tmp_path / "s.npz",
        train=GREY[:40].numpy(),
        test=GREY[40:60].numpy(),
        train_labels=np.arange(40),
    )
    data = own(tmp_path / "s.npz", binarize="dynamic")
    assert (len(data.train), len(data.valid), len(data.test)) == (36, 4, 20)
    assert sorted(torch.cat([data.train.row_numbers, data.valid.row_numbers])) == [*range(40)]
    assert "4 of 40 training rows for validation" in data.notes
    data = own(tmp_path / "s.npz", binarize="dynamic", valid=0)
    assert (len(data.train), data.valid, len(data.test)) == (40, None, 20)
    assert (
        data.train.binarize == "dynamic" and data.test.binarize == "no" and data.test.levels == 1
    )
    assert torch.equal(data.test.stored, own(tmp_path / "s.npz", binarize="dynamic").test.stored)


def test_splits_are_seeded(tmp_path):
    np.save(tmp_path / "x.npy", GREY.numpy())
    a, b, c = (own(tmp_path / "x.npy", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.train.stored, b.train.stored) and not torch.equal(
        a.train.stored, c.train.stored
    )
    with pytest.raises(ValueError, match="left to train on"):
        own(tmp_path / "x.npy", valid=400, test=100)


class Executed:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize(
    "name,content",
    [
        ("a.npy", pickle.dumps(Executed())),
        ("a.npz", pickle.dumps(Executed())),
        ("objects.npy", None),
        ("cut.npy", b"\x93NUMPY\x01\x00v"),
        ("huge.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }" + b" " * 30 + b"\n"),
        ("a-idx3-ubyte", b""),
        ("a-idx3-ubyte", idx_bytes(np.zeros(3, np.uint8), shape=(2**31, 2**31))),
        ("a-idx3-ubyte", idx_bytes(np.zeros(3, np.uint8), shape=(5,))),
        ("a-idx3-ubyte", idx_bytes(np.zeros(9, np.uint8), shape=(5,))),
        ("a-idx3-ubyte", idx_bytes(np.zeros(3, np.uint8), kind=7)),
        ("a-idx3-ubyte.gz", gzip.compress(idx_bytes(np.zeros(3, np.uint8)), mtime=0)[:-9]),
        ("a-idx3-ubyte.gz", b"no gzip"),
        ("a.docx", b"1 2 3"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_and_never_executed(workdir, name, content):
    if content is None:
        stream = io.BytesIO()
        np.save(stream, np.array([Executed()], dtype=object), allow_pickle=True)
        content = stream.getvalue()
    Path(name).write_bytes(content)
    with pytest.raises(ValueError, match=name.split(".")[0]):
        read(Path(name))
    assert not Path("executed").exists()


def test_archive_bombs_are_refused_before_they_are_opened(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(150_000_000, np.uint8))
    with pytest.raises(ValueError, match="not a plausible archive"):
        read(tmp_path / "bomb.npz")


def test_images_of_several_sizes(tmp_path):
    for i, size in enumerate([(4, 4), (4, 5)]):
        Image.new("L", size).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match=r"one size.*1\.png"):
        read(tmp_path)


def test_idx_of_all_types(tmp_path):
    for kind, dtype in {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}.items():
        x = np.arange(6).astype(dtype).reshape(2, 3)
        (tmp_path / "x-idx2").write_bytes(idx_bytes(x, kind=kind))
        assert np.array_equal(read_idx(tmp_path / "x-idx2"), x)
