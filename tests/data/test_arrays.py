"""Data in memory or in .npy and .npz: every value is read, or refused with a message."""

import io
import zipfile

import numpy as np
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import pyro_vae as pv
from pyro_vae import config
from pyro_vae.data import as_split
from pyro_vae.data.archives import _meaning

X = np.arange(12).reshape(4, 3)


class Pairs(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i >= 4:
            raise IndexError(i)
        return X[i].astype("f4"), int(i % 2)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.as_tensor(X).float())


@pytest.mark.parametrize(
    "x",
    [
        X, X.astype(">f8"), X.astype(">i4"), X.astype("<f4"), X.astype(np.uint64), X.astype(np.uint32),
        X.astype(np.uint16), X.astype(np.uint8), X.astype(np.longdouble), X.astype(np.float16),
        X.astype(object), np.asfortranarray(X), X[:, ::-1][:, ::-1], np.ma.masked_array(X, mask=False),
        X.tolist(), [torch.as_tensor(row) for row in X], torch.as_tensor(X), torch.as_tensor(X).to_sparse(),
         torch.as_tensor(X).to(torch.uint16),
        torch.as_tensor(X.astype(np.uint64)), torch.as_tensor(X).float().requires_grad_(),
        torch.as_tensor(X).to(torch.bfloat16), scipy.sparse.csr_matrix(X), scipy.sparse.coo_array(X),
        TensorDataset(torch.as_tensor(X)), Subset(TensorDataset(torch.as_tensor(X)), range(4)), Pairs(),
        DataLoader(torch.as_tensor(X), batch_size=3), DataLoader(Pairs(), batch_size=2, shuffle=True),
        DataLoader(Stream(), batch_size=3), Stream(),
    ],
    ids=lambda x: f"{type(x).__name__} {getattr(x, 'dtype', '')}",
)  # fmt: skip
def test_arrays_of_all_kinds(x):
    split = as_split(x)
    rows = split.rows(slice(None))
    assert rows.dtype == torch.float32 and not rows.requires_grad
    np.testing.assert_array_equal(rows, X)


def test_labels_come_along():
    for data in (Pairs(), DataLoader(Pairs(), batch_size=3, shuffle=True)):
        assert as_split(data).labels.tolist() == [0, 1, 0, 1]
    pairs = TensorDataset(torch.as_tensor(X), torch.tensor([0.5, 1, 2, 3]))
    assert as_split(pairs).labels.tolist() == [0.5, 1, 2, 3]


def test_a_mask_is_missing():
    masked = np.ma.masked_equal(np.where(X == 5, -999, X), -999)
    found = as_split(masked).rows(slice(None))
    assert (
        found[1, 2].isnan() and found.isnan().sum() == 1 and float(found.nan_to_num().max()) == 11
    )
    with pytest.raises(ValueError, match="got nan in training data, row 1"):
        vae = pv.VAE(
            pv.priors.StandardNormal(2),
            pv.likelihoods.Gaussian(pv.nn.MLP(2, 8, 3)),
            pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, 8, 4)),
        )
        pv.fit(vae, masked, epochs=1, progress=False)


@pytest.mark.parametrize(
    "x,words",
    [
        (np.zeros((4, 0)), "one element"), (np.zeros((0, 4)), "at least one row"), (np.zeros(4), r"x\[:, None\]"),
        (np.array(3.0), "shape"), (np.ones((3, 2), complex), "complex"), (np.array([["a"]]), "dtype <U1"),
        (np.array([["1_2", "3"]], object), "dtype object"), (np.zeros(3, [("a", "f4")]), "dtype"),
        (np.zeros((3, 2), "M8[s]"), "datetime64"), (np.full((2, 2), 2**64 - 1, np.uint64), "below 2\\^63"),
        ([[1, 2], [3]], "one length|of one"), ("mine.csv", "Read it first"), ({"x": X}, "type dict"),
        (None, "type NoneType"), (3, "type int"), (torch.ones(3, 2, dtype=torch.cfloat), "imaginary"),
        (DataLoader([{"x": 1.0}]), "dictionaries"), ([], "shape"),
        (scipy.sparse.csr_matrix((10**6, 10**6)), "fit into memory"),
    ],
    ids=lambda x: str(type(x).__name__),
)  # fmt: skip
def test_objects_that_are_not_data(x, words):
    with pytest.raises(ValueError, match=words) as error:
        as_split(x)
    assert str(error.value).startswith("Expected")


# --- Archives -----------------------------------------------------------------------------------


def read(path, **options):
    return pv.data.load(config.File(path=path, valid=0, test=0, **options))


PIXELS = np.arange(5 * 16, dtype=np.uint8).reshape(5, 4, 4)
ARCHIVES = [
    ({"x": X}, {"train": 4}, None),
    ({"X": X, "Y": [0, 1, 1, 0]}, {"train": 4}, [0, 1, 1, 0]),
    ({"arr_0": X}, {"train": 4}, None),
    ({"x_test": X[:1], "x_train": X[:3], "y_train": [1, 0, 2], "y_test": [5]}, {"train": 3, "test": 1}, [1, 0, 2]),
    ({"train_images": PIXELS, "val_images": PIXELS[:2], "train_labels": np.arange(5)[:, None], "val_labels": [[1], [2]]},
     {"train": 5, "valid": 2}, [0, 1, 2, 3, 4]),
    ({"trainData": X, "testData": X[:2], "testLabels": [1, 2]}, {"train": 4, "test": 2}, None),
    ({"train": X, "dev": X[:1]}, {"train": 4, "valid": 1}, None),
    ({"x": X, "x_test": X[:2], "y": [0, 1, 2, 3]}, {"train": 4, "test": 2}, [0, 1, 2, 3]),
    ({"cell_id": np.arange(4), "counts": X}, {"train": 4}, None),
    ({"genes": np.array(["a", "b", "c", "d"]), "counts": X}, {"train": 4}, None),
    ({"x": X, "labels": np.array(["B", "A", "B", ""])}, {"train": 4}, [1, 0, 1, -1]),
    ({"x": X, "labels": np.array([0.5, np.nan, 1, 2])}, {"train": 4}, [0.5, np.nan, 1, 2]),
    ({"x": X, "labels": np.array([0, np.nan, 1, 2])}, {"train": 4}, [0, -1, 1, 2]),
    ({"x": X, "labels": np.eye(4)[[2, 0, 1, 3]]}, {"train": 4}, [2, 0, 1, 3]),
    ({"x": X, "labels": np.array([True, False, True, False])}, {"train": 4}, [1, 0, 1, 0]),
]  # fmt: skip


@pytest.mark.parametrize(
    "arrays,sizes,labels", ARCHIVES, ids=lambda a: ",".join(a) if isinstance(a, dict) else ""
)
def test_archives_with_other_names(tmp_path, arrays, sizes, labels):
    np.savez(tmp_path / "a.npz", **arrays)
    dataset = read(tmp_path / "a.npz")
    assert {name: len(split) for name, split in dataset.splits.items()} == sizes
    train = dataset.train
    if labels is None:
        assert train.labels is None
    else:
        np.testing.assert_array_equal(train.labels[train.row_numbers.argsort()], labels)
    used = [name for name in arrays if name in dataset.notes]
    assert used == [*arrays]  # each is named: data, labels or not used


@pytest.mark.parametrize(
    "arrays,words",
    [
        ({"a": X, "b": X}, r"--data.array; the arrays are a \(4, 3\), b \(4, 3\)"),
        ({"x": X, "images": X}, "got several"), ({"x": X, "x_train": X}, "in one piece or by split"),
        ({"test": X}, "to train on"), ({"x": X, "labels": [1, 2]}, "a label for each of 4 rows"),
        ({"train": X, "test": X[:, :2]}, "one shape"), ({}, "got none"), ({"y": [1, 2]}, "got none"),
    ],
)  # fmt: skip
def test_ambiguous_archives(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "a.npz")


def test_an_array_can_be_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=X, b=X + 1, labels=[0, 1, 2, 3])
    dataset = read(tmp_path / "a.npz", array="b")
    assert dataset.train.stored.min() == 1 and dataset.train.labels is not None
    with pytest.raises(ValueError, match="the arrays are"):
        read(tmp_path / "a.npz", array="c")


def test_sparse_archives(tmp_path):
    scipy.sparse.save_npz(tmp_path / "s.npz", scipy.sparse.csr_matrix(X))
    dataset = read(tmp_path / "s.npz")
    assert sorted(dataset.train.stored.tolist()) == X.tolist() and "dense" in dataset.notes


def npy(header, body=b""):
    text = header.encode() + b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "member",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 1), }"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -2), }", b"\0" * 32),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2), }", b"\0" * 32),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8), b"\x93NUMPY\x09\x00", b"hi",
    ],
    ids=["8 TiB", "negative", "short", "objects", "version", "text"],
)  # fmt: skip
def test_members_with_false_headers(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", member)
    with pytest.raises(ValueError, match=r"Expected arrays of numbers in .*a\.npz"):
        read(tmp_path / "a.npz")


def test_other_members_are_ignored(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, X)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hi")
        archive.writestr("x.npy", buffer.getvalue())
    assert len(read(tmp_path / "a.npz").train) == 4


@pytest.mark.parametrize(
    "name,meaning",
    [("x", ("", "x")), ("Xtrain", ("train", "x")), ("test_Y", ("test", "y")), ("validation", ("valid", "x")),
     ("training_labels", ("train", "y")), ("test2", ("test", None)), ("train_test", ("", None)), ("ü", ("", None))],
)  # fmt: skip
def test_what_names_mean(name, meaning):
    assert _meaning(name) == meaning


@pytest.mark.parametrize(
    "x,highest,note",
    [
        (PIXELS, 255, "0..255 are divided by 255"), (PIXELS // 8, 9, "0..9 are divided by 9"),
        (PIXELS.astype("i8") * 50, 4095, "divided by 4095"), (PIXELS.astype("u2") * 800, 65535, "65535"),
        (PIXELS > 9, 1, "bits"), (PIXELS.reshape(5, 16), 255, "divided by 255"),
    ],
)  # fmt: skip
def test_division_is_reported(tmp_path, x, highest, note):
    np.save(tmp_path / "x.npy", x)
    dataset = read(tmp_path / "x.npy")
    assert dataset.train.levels == highest and note in dataset.notes
    wanted = np.sort(x.astype(float).reshape(5, -1) / highest, axis=None)
    np.testing.assert_allclose(
        dataset.train.rows(slice(None)).flatten().sort().values, wanted, rtol=1e-6
    )


def test_counts_are_not_divided(tmp_path):
    np.save(tmp_path / "c.npy", 142 * X)
    dataset = read(tmp_path / "c.npy")
    assert float(dataset.train.rows(slice(None)).max()) == 142 * 11 and "not div" in dataset.notes
    assert float(read(tmp_path / "c.npy", range="unit").train.rows(slice(None)).max()) == 1
    np.save(tmp_path / "n.npy", X - 5)  # negative values: not grey levels
    assert read(tmp_path / "n.npy").train.levels is None


def test_channels_that_come_last(tmp_path):
    x = np.random.default_rng(0).random((6, 8, 9, 3))
    np.save(tmp_path / "x.npy", x)
    dataset = read(tmp_path / "x.npy")
    assert dataset.train.x_shape == (3, 8, 9) and "moved" in dataset.notes
    row = int(dataset.train.row_numbers[0])
    np.testing.assert_array_equal(dataset.train.stored[0], np.moveaxis(x[row], -1, 0))
    np.save(tmp_path / "x.npy", x.transpose(0, 3, 1, 2))
    assert "moved" not in read(tmp_path / "x.npy").notes


def test_numbers_that_mark_missing_values(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1.0, -999], [2, 3], [-999, 4]]))
    config = pv.config.File(path=tmp_path / "x.npy", holes=-999, valid=0, test=0)
    dataset = pv.data.load(config, quiet=True)
    assert int(dataset.train.stored.isnan().sum()) == 2
    with pytest.raises(ValueError, match="data.label, but an array takes holes"):
        pv.data.load(config.model_copy(update={"label": "y"}))


def test_labels_of_an_archive_by_name(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.eye(4), y=np.arange(4), kind=np.array([1, 1, 0, 0]))
    for label, found in (("auto", {0, 1, 2, 3}), ("kind", {0, 1}), ("none", None)):
        config = pv.config.File(path=tmp_path / "d.npz", label=label, valid=0, test=0)
        labels = pv.data.load(config, quiet=True).train.labels
        assert (None if labels is None else {*labels.tolist()}) == found


@pytest.mark.parametrize(
    ("train", "other", "words", "scaled"),
    [
        (np.random.rand(9, 4, 4), np.full((3, 4, 4), 200, np.uint8), "bytes up to 200", None),
        (np.full((9, 4, 4), 255, np.uint8), np.full((3, 4, 4), 0.5), None, 0.5),
        (np.full((9, 4, 4), 255, np.uint8), np.full((3, 4, 4), 51.0), None, 0.2),
        (np.full((9, 4, 4), 255, np.uint8), np.full((3, 4, 4), 51.5), "from 51.5 to 51.5", None),
    ],
)  # fmt: skip
def test_other_units_are_not_accepted_silently(tmp_path, train, other, words, scaled):
    np.save(tmp_path / "a.npy", train)
    np.save(tmp_path / "b.npy", other)
    dataset = pv.data.load(tmp_path / "a.npy", quiet=True)
    args = tmp_path / "b.npy", dataset.config, "test", dataset.form()
    if words:
        with pytest.raises(ValueError, match=words):
            pv.data.whole_file(*args)
    else:
        split, _ = pv.data.whole_file(*args)
        np.testing.assert_allclose(split.rows(slice(0, 1)), scaled)


def test_counts_and_order_of_arguments():
    for bad in (-2, 0, 2.5, True):
        with pytest.raises(ValueError, match="latent_dim as a whole number"):
            pv.priors.StandardNormal(bad)
    vae = pv.exact.linear_gaussian(dim=3, latent_dim=1, sigma=0.5)
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match="num_samples as a whole number"):
        pv.log_marginal(vae, x, num_samples=-1)
    with pytest.raises(ValueError, match="the model first"):
        pv.fit(x, vae)
