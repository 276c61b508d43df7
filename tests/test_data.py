"""Data: read with suspicion, stored small, turned into x by a recorded rule."""

import gzip
import hashlib
import io
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import bound
from conftest import needs_data
from PIL import Image
from torch.distributions import constraints

import pyro_vae as pv
from pyro_vae import config
from pyro_vae.data import Split, as_split, check, fingerprint, load, moments
from pyro_vae.data.archives import read_idx
from pyro_vae.data.files import read

GREY = torch.randint(
    256, (500, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def split(**rule):
    return Split(GREY, levels=255, **rule)


def own(path, **options):
    return load(config.File(path=path, **options))


# --- From stored values to x --------------------------------------------------------------------


def test_rules():
    index = torch.tensor([3, 7])
    assert torch.equal(split(range="unit").rows(index), GREY[index].float() / 255)
    assert torch.equal(split(range="levels").rows(index), GREY[index].float())
    assert torch.equal(split(binarize="threshold").rows(index), (GREY[index] > 127).float())
    assert set(split(binarize="dynamic").rows(index).unique().tolist()) == {0.0, 1.0}
    assert split(range="levels").scale == 255 and split(range="unit").scale == 1


def test_dynamic_bits_have_the_pixels_probabilities():
    grey = torch.tensor([[[[0, 51, 128, 255]]]], dtype=torch.uint8)
    many = Split(grey.expand(40_000, 1, 1, 4), levels=255, binarize="dynamic")
    p = grey.double().flatten() / 255
    n = len(many)
    z = (many.rows(slice(None)).double().mean(0).flatten() - p) / (p * (1 - p) / n).sqrt().clamp(
        min=1e-9
    )
    assert z.abs().max() < bound(4)
    twin = (many.rows(slice(None)).double().mean(0).flatten() - p**2.2) / (
        p * (1 - p) / n
    ).sqrt().clamp(min=1e-9)
    assert twin.abs().max() > bound(4)


def test_bits_are_drawn_anew_or_frozen():
    dynamic = split(binarize="dynamic")
    assert not torch.equal(dynamic.rows(slice(9)), dynamic.rows(slice(9)))
    state = torch.get_rng_state()
    frozen = dynamic.freeze(3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(frozen.rows(slice(9)), dynamic.freeze(3).rows(slice(9)))
    assert not torch.equal(frozen.stored, dynamic.freeze(4).stored)
    assert frozen.stored.dtype == torch.uint8 and frozen.stored.max() == 1


def test_mean_uses_probabilities_and_no_random_numbers():
    state = torch.get_rng_state()
    torch.testing.assert_close(
        moments(split(binarize="dynamic"))[0], GREY.double().mean(0) / 255, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(moments(split(range="levels"))[0], GREY.double().mean(0))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "x",
    [
        GREY,
        GREY.bool(),
        GREY.int(),
        GREY.half(),
        GREY.double(),
        GREY.numpy(),
        GREY.numpy().astype(np.uint16),
    ],
)
def test_plain_arrays_are_taken_as_they_are(x):
    rows = as_split(x).rows(slice(5))
    assert rows.dtype == torch.float32
    assert torch.equal(rows, torch.as_tensor(np.asarray(x).astype("float32"))[:5])


@pytest.mark.parametrize(
    "x",
    [np.array([["a"]]), np.array([[{}]]), np.zeros((0, 3)), np.zeros(3)],
    ids=["text", "objects", "empty", "flat"],
)
def test_arrays_that_are_no_data(x):
    with pytest.raises(ValueError, match="Expected"):
        as_split(x)


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x,support,words",
    [
        (
            torch.full((5, 2), 0.5),
            constraints.boolean,
            ["{0, 1}", "0.5", "row 0", "binarize", "gaussian"],
        ),
        (
            torch.tensor([[0.0], [17.0]]),
            constraints.integer_interval(0, 16),
            ["{0, ..., 16}", "17", "row 1"],
        ),
        (torch.tensor([[0.0, np.nan]]), constraints.real, ["nan", "row 0", "(1,)"]),
        (torch.tensor([[0.0, np.inf]]), constraints.real, ["inf", "row 0"]),
    ],
)
def test_values_outside_the_support_are_named(x, support, words):
    with pytest.raises(ValueError) as error:
        check(as_split(x, "mine.npy"), support, "Family")
    for word in [*words, "mine.npy", "Family"]:
        assert word in str(error.value)


def test_the_remedies_for_grey_pixels():
    with pytest.raises(
        ValueError, match=r"binarize dynamic.*gaussian.*binomial --likelihood.total-count 255"
    ):
        check(split(range="unit"), constraints.boolean, "Bernoulli")
    with pytest.raises(ValueError, match="range levels"):
        check(split(range="unit"), constraints.integer_interval(0, 255), "Binomial")
    check(split(binarize="dynamic"), constraints.boolean, "Bernoulli")
    check(split(range="levels"), constraints.integer_interval(0, 255), "Binomial")


def test_refusals_do_not_depend_on_validation_or_asserts():
    code = (
        "import torch, pyro, pyro_vae as pv\n"
        "pyro.enable_validation(False)\n"
        "q = pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, [8], 4))\n"
        "vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Bernoulli(pv.nn.MLP(2, [8], 4)), q)\n"
        "try: pv.fit(vae, torch.rand(9, 4), progress=False)\n"
        "except ValueError as error: print(error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True
    )
    assert "the support of Bernoulli" in out.stdout


# --- Larger than memory -------------------------------------------------------------------------


def test_mapped_arrays_are_read_by_rows(tmp_path, monkeypatch):
    import pyro_vae.data.archives as files

    np.save(tmp_path / "x.npy", GREY.numpy())
    monkeypatch.setattr(files, "MAP_BYTES", 100)
    data = own(tmp_path / "x.npy", range="unit", valid=50, test=0.2)
    assert isinstance(data.train.stored, np.memmap)
    assert (len(data.train), len(data.valid), len(data.test)) == (350, 50, 100)
    assert torch.equal(data.train.rows(torch.tensor([5, 2])), GREY[[5, 2]].float() / 255)
    assert torch.equal(data.test.rows(slice(0, 3)), GREY[400:403].float() / 255)
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 4, 4), [8], 4))
    likelihood = pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], (1, 4, 4)), event_dim=3)
    history = pv.fit(
        pv.VAE(pv.priors.StandardNormal(2), likelihood, posterior),
        data.train,
        epochs=2,
        progress=False,
    )
    assert len(history["loss"]) == 2


def test_fingerprints_see_every_byte_in_memory():
    other = GREY.clone()
    other[77, 0, 2, 2] ^= 1
    assert fingerprint(Split(GREY)) != fingerprint(Split(other))
    assert fingerprint(Split(GREY)) == fingerprint(Split(GREY.clone()))


# --- Files --------------------------------------------------------------------------------------


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
    assert "4 of 40 training rows validate" in data.notes
    data = own(tmp_path / "s.npz", binarize="dynamic", valid=0)
    assert (len(data.train), data.valid, len(data.test)) == (40, None, 20)
    assert (
        data.train.binarize == "dynamic" and data.test.binarize == "no" and data.test.levels == 1
    )
    assert torch.equal(data.test.stored, own(tmp_path / "s.npz", binarize="dynamic").test.stored)


def test_cuts_are_seeded(tmp_path):
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
    with pytest.raises(ValueError, match="no honest archive"):
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


# --- Sets by name -------------------------------------------------------------------------------


def test_digits_are_cut_and_recorded():
    data = load(config.Digits())
    assert [len(s) for s in (data.train, data.valid, data.test)] == [1300, 200, 297]
    record = json.loads(json.dumps(data.record()))
    assert record["levels"] == 16 and record["x_shape"] == [1, 8, 8] and record["binarize"] == "no"
    assert load(config.Digits()).record() == record
    assert load(config.Digits(seed=1)).record()["sha256"] != record["sha256"]
    bits = load(config.Digits(binarize="fixed"))
    assert bits.train.stored.max() == 1 and bits.train.binarize == "no"


def test_the_sentence_for_data_that_are_not_there(workdir, monkeypatch):
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
    """A set in MNIST's layout with 30 + 12 images, whose digests are taken for the true ones."""
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


@pytest.mark.parametrize(
    "defined", [False, True], ids=["operators missing", "schemas exist already"]
)
def test_the_door_to_torchvision(defined):
    code = "import torch\n"
    if defined:
        code += (  # by the extension where it fits this torch, else by hand
            "import importlib.util, pathlib\n"
            "folder = pathlib.Path(importlib.util.find_spec('torchvision').origin).parent\n"
            "try: torch.ops.load_library(str(next(folder.glob('_C*.*'))))\n"
            "except OSError:\n"
            "    lib = torch.library.Library('torchvision', 'DEF')\n"
            "    for name in ('nms', 'qnms'):\n"
            "        lib.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        )
    code += (
        "from pyro_vae.data.vision import torchvision\n"
        "tv = torchvision(); assert torchvision() is tv\n"
        "assert tv.utils.make_grid(torch.rand(4, 1, 8, 8)).shape == (3, 12, 42)\n"
        "assert tv.datasets.MNIST and tv.datasets.CelebA\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
