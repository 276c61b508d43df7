"""Where data sets are searched, and the message if they are not found."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
import torch

from pyro_vae import config
from pyro_vae.data import load

GREY = torch.randint(
    256, (500, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def idx_bytes(array, *, kind=8, shape=None):
    shape = shape or array.shape
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + array.tobytes()


def test_message_for_data_that_are_not_there(workdir, monkeypatch):
    monkeypatch.setenv("PYRO_VAE_DATA", str(workdir / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    with pytest.raises(ValueError) as error:
        load(config.FreyFaces())
    for word in (
        "'freyfaces'",
        str(workdir / "mine"),
        str(workdir / "cache"),
        "freyfaces.npz",
        "--data-dir",
    ):
        assert word in str(error.value)


def test_downloads_leave_nothing_incomplete(workdir, monkeypatch):
    import pyro_vae.data.sets as sets

    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir))

    def broken(folder):
        (folder / "MNIST" / "raw").mkdir(parents=True)
        (folder / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"half")
        raise OSError("the line is dead")

    monkeypatch.setattr(sets, "_torchvision_set", lambda name: broken)
    with pytest.raises(ValueError, match="the line is dead"):
        load(config.MNIST())
    assert not list((workdir / "pyro_vae").iterdir())


@pytest.fixture
def fake_mnist(workdir, monkeypatch):
    """A set in MNIST's layout with 30 + 12 images, whose digests replace the true ones."""
    import pyro_vae.data.sets as sets

    digests = []
    folder = workdir / "data" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count in zip(sets.IDX, (30, 30, 12, 12)):
        array = (
            GREY.numpy()[:count, 0] if "images" in name else np.arange(count, dtype=np.uint8) % 10
        )
        content = gzip.compress(idx_bytes(array), mtime=0)
        (folder / f"{name}.gz").write_bytes(content)
        digests.append(hashlib.md5(content).hexdigest())
    monkeypatch.setitem(sets.MD5, "mnist", tuple(digests))
    return folder


def test_look_up_order_and_hashes(fake_mnist, workdir, monkeypatch):
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    data = load(config.MNIST(valid=5), workdir / "data")
    assert [len(s) for s in (data.train, data.valid, data.test)] == [25, 5, 12]
    assert torch.equal(data.valid.labels, torch.arange(25, 30) % 10)
    monkeypatch.setenv("PYRO_VAE_DATA", str(workdir / "data"))
    assert load(config.MNIST(valid=0)).valid is None
    damaged = fake_mnist / "t10k-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz with md5"):
        load(config.MNIST())
