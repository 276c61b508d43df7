"""Known data sets: split, cropped and recorded; the real ones if they are available."""

import json
import pickle

import numpy as np
import pytest
import torch
from checks import needs_data
from PIL import Image
from torch.distributions import constraints

from pyro_vae import config
from pyro_vae.data import check, load, moments


def test_digits_are_split_and_recorded():
    data = load(config.Digits())
    assert [len(s) for s in (data.train, data.valid, data.test)] == [1300, 200, 297]
    record = json.loads(json.dumps(data.record()))
    assert record["levels"] == 16 and record["x_shape"] == [1, 8, 8] and record["binarize"] == "no"
    assert load(config.Digits()).record() == record
    assert load(config.Digits(seed=1)).record()["sha256"] != record["sha256"]
    bits = load(config.Digits(binarize="fixed"))
    assert bits.train.stored.max() == 1 and bits.train.binarize == "no"


def test_celeba_is_cropped_once_and_mapped(workdir, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(workdir / "cache"))
    folder = workdir / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    lines = []
    for i, part in enumerate([0, 0, 0, 1, 2, 2]):
        image = Image.new("RGB", (178, 218), (0, 0, 0))
        image.paste((200, 20 * i, 10), (19, 39, 159, 179))  # the central 140x140
        image.save(folder / f"{i}.jpg", quality=95)
        lines.append(f"{i}.jpg {part}")
    (workdir / "celeba" / "list_eval_partition.txt").write_text("\n".join(lines))
    data = load(config.CelebA(), workdir)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [3, 1, 2]
    x = data.train.rows(slice(None))
    assert x.shape == (3, 3, 32, 32) and isinstance(data.train.stored, np.memmap)
    assert (
        x[2, :, 2:-2, 2:-2] * 255 - torch.tensor([200.0, 40.0, 10.0])[:, None, None]
    ).abs().max() < 6
    monkeypatch.setattr(Image, "open", None)  # the second time nothing is decoded
    assert torch.equal(load(config.CelebA(), workdir).train.rows(slice(None)), x)


def test_cifar10_in_torchvisions_layout(workdir, monkeypatch):
    from pyro_vae.data.vision import torchvision

    folder = workdir / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = {"data": rng.integers(256, size=(4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 3]}
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcd")}))
    with pytest.raises(ValueError, match="Expected"):
        load(config.CIFAR10(valid=5), workdir)  # a wrong MD5 is never unpickled
    monkeypatch.setattr(torchvision().datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    data = load(config.CIFAR10(valid=5), workdir)
    assert [len(s) for s in (data.train, data.valid, data.test)] == [15, 5, 4]
    assert data.train.x_shape == (3, 32, 32)
    first = pickle.loads((folder / "data_batch_1").read_bytes())["data"][0].reshape(3, 32, 32)
    assert np.array_equal(data.train.stored[0].numpy(), first)


@needs_data
@pytest.mark.parametrize(
    "kind,sizes,shape",
    [
        (config.MNIST(), (50_000, 10_000, 10_000), (1, 28, 28)),
        (config.FashionMNIST(), (50_000, 10_000, 10_000), (1, 28, 28)),
        (config.StaticMNIST(), (50_000, 10_000, 10_000), (1, 28, 28)),
        (config.Omniglot(), (17_352, 1_928, 13_180), (1, 28, 28)),
        (config.FreyFaces(), (1_565, 200, 200), (1, 28, 20)),
    ],
)
def test_real_sets(kind, sizes, shape):
    data = load(kind)
    assert tuple(len(s) for s in (data.train, data.valid, data.test)) == sizes
    assert data.train.x_shape == shape
    check(
        data.test,
        constraints.boolean if data.test.levels == 1 else constraints.unit_interval,
        "any",
    )
    if kind.kind == "mnist":
        assert (
            abs(float(moments(data.train)[0].mean()) - 0.1307) < 0.001
        )  # MNIST's well-known mean


@needs_data
def test_static_mnist_labels_fit_the_images():
    """A nearest-mean classifier on the recovered labels is as good as it is on MNIST."""
    data = load(config.StaticMNIST())
    x, y = data.train.rows(slice(None)).flatten(1), data.train.labels
    means = torch.stack([x[y == k].mean(0) for k in range(10)])
    test = data.test.rows(slice(None)).flatten(1)
    accuracy = (torch.cdist(test, means).argmin(1) == data.test.labels).float().mean()
    assert accuracy > 0.8


@pytest.mark.parametrize("content", [b"PK\x03\x04", b""])
def test_a_damaged_archive_is_one_sentence(content, tmp_path):
    (tmp_path / "freyfaces").mkdir()
    (tmp_path / "freyfaces" / "freyfaces.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected arrays of numbers in .*freyfaces.npz; got"):
        load("freyfaces", tmp_path)
