"""Colour pictures on the command line: CIFAR-10, CelebA, a folder, patches of photographs."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.cli import main
from pyro_vae.data.vision import torchvision

SMALL = [
    "--latent-dim", "4", "--train.epochs", "1", "--train.kl-warmup-epochs", "0.5",
    "--train.batch-size", "10", "--train.compile", "no", "--likelihood.decoder.channels", "4,4",
    "--likelihood.decoder.hidden-features", "8", "--posterior.encoder.channels", "4,4",
    "--posterior.encoder.hidden-features", "8",
]  # fmt: skip


def make_cifar10(folder, monkeypatch):
    """Files of the form of CIFAR-10; their MD5 is another one."""
    inner = folder / "cifar-10-batches-py"
    inner.mkdir()
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(256, size=(10, 3072), dtype=np.uint8)
        (inner / name).write_bytes(pickle.dumps({"data": pixels, "labels": [*range(10)]}))
    (inner / "batches.meta").write_bytes(pickle.dumps({"label_names": [*"abcdefghij"]}))
    monkeypatch.setattr(torchvision().datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
    return ["--data.valid", "5"]


def make_celeba(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    folder = folder / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    parts = [0] * 20 + [1] * 5 + [2] * 10
    for i in range(len(parts)):
        face = rng.integers(256, size=(218, 178, 3), dtype=np.uint8)
        Image.fromarray(face).save(folder / "img_align_celeba" / f"{i}.jpg")
    lines = [f"{i}.jpg {part}" for i, part in enumerate(parts)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines))
    return []


def make_pictures(folder, monkeypatch):
    rng = np.random.default_rng(0)
    for i in range(30):
        picture = rng.integers(256, size=(20, 32, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.png")
    return ["--data.path", str(folder), "--data.test", "10", "--data.valid", "5"]


CODES = ["--posterior.code-dim", "2", "--posterior.num-codes", "4", "--prior.hidden-features", "8"]


@pytest.mark.parametrize(
    "recipe,make,side,own",
    [
        ("cifar10", make_cifar10, 32, []),
        ("cifar10-vq", make_cifar10, 32, CODES),
        ("celeba", make_celeba, 32, []),
        ("pictures", make_pictures, 20, []),
    ],
)
def test_recipes_of_colour(recipe, make, side, own, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data"
    folder.mkdir()
    more = [*make(folder, monkeypatch), *own, "--data-dir", str(folder)]
    run, out = tmp_path / "run", tmp_path / "x.npy"
    assert main(["train", recipe, "--out", str(run), *SMALL, *more]) == 0
    capsys.readouterr()
    measure = ["evaluate", str(run), "--num-samples", "3", "--json", "--data-dir", str(folder)]
    assert main(measure) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["num_data"] == 10 and 7.5 < figures["bits_per_dim"] < 10  # noise has 8
    assert main(["sample", str(run), "--num-samples", "3", "--out", str(out)]) == 0
    drawn = np.load(out)
    assert drawn.shape == (3, 3, side, 32) and drawn.min() >= 0 and drawn.max() <= 255
    assert (drawn == drawn.round()).all()
    if own:  # one vector of two codes of four
        assert 0 < figures["code_rate"] < 4 and figures["even_rate"] == pytest.approx(np.log(16))


@pytest.mark.slow
def test_two_layers_of_colour(tmp_path, capsys):
    channels = ["--likelihood.decoder.channels", "4,4", "--posterior.z1.encoder.channels", "4,4"]
    sizes = [
        "--likelihood.decoder.hidden-features",
        "8",
        "--data.stride",
        "32",
        "--data.test",
        "4",
    ]
    run, short = str(tmp_path / "run"), ["--train.epochs", "1", "--train.compile", "no"]
    train = ["train", "photo-patches-two-layers", "--out", run, *channels, *sizes, *short]
    assert main(train) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--num-samples", "3", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["num_data"] == 16 and 6.5 < figures["bits_per_dim"] < 10
    assert {"kl_z1", "kl_z2"} <= {*figures}


def test_patches_of_photographs_share_no_pixel():
    data = pv.data.photo_patches()
    assert [len(s) for s in data.splits.values()] == [84 * 25, 12 * 4, 24 * 4]
    assert data.train.x_shape == (3, 32, 32) and data.train.classes == ("china", "flower")
    tiles = {name: split.stored.unfold(2, 8, 8).unfold(3, 8, 8) for name, split in data.splits.items()}  # fmt: skip
    seen = {
        name: {t.numpy().tobytes() for t in part.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)}
        for name, part in tiles.items()
    }
    white = {t for t in seen["test"] if len({*t}) < 8}  # plain sky
    assert not (seen["test"] - white) & seen["train"]
    assert len(seen["train"]) > 84 * 60  # tiles of 8 pixels, of which a block has 64
    whole = pv.data.photo_patches(stride=32, valid=0, test=0)
    assert len(whole.train) == 480 and whole.valid is None
    assert torch.equal(whole.train.labels.bincount(), torch.tensor([240, 240]))
    other = pv.data.photo_patches(seed=1)
    assert not torch.equal(other.test.stored, data.test.stored)
