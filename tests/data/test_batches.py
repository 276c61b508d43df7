"""Batches that memory does not hold: one pass to a file, and training from there."""

import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import pyro_vae as pv
from pyro_vae.data import from_batches


class Stream(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for label in range(95):
            yield torch.randn(3, generator=generator), label


def test_a_loader_becomes_rows_of_a_file(tmp_path):
    split = from_batches(DataLoader(Stream(), batch_size=10), tmp_path / "x.npy")
    assert isinstance(split.stored, np.memmap) and [*tmp_path.iterdir()] == [tmp_path / "x.npy"]
    rows = torch.stack([x for x, _ in Stream()])
    torch.testing.assert_close(split.rows(slice(None)), rows)
    assert split.labels.tolist() == [*range(95)]
    torch.testing.assert_close(pv.data.as_split(np.load(tmp_path / "x.npy")).stored, rows)


def test_training_is_that_of_data_in_memory(tmp_path):
    def train(data):
        torch.manual_seed(0)
        q = pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 4))
        vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], 3)), q)
        return pv.fit(vae, data, valid=data, epochs=2, patience=1, progress=False)["elbo"]

    split = from_batches(lambda: DataLoader(Stream(), batch_size=10), tmp_path / "x.npy")
    assert train(split) == train(split.rows(slice(None)))


def test_memory_holds_a_batch(tmp_path):
    size, count = 200_000, 40
    tracemalloc.start()
    try:
        batches = (np.full((size // 100, 100), i, np.float32) for i in range(count))
        split = from_batches(batches, tmp_path / "x.npy")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "x.npy").stat().st_size > 4 * size * count > 8 * peak
    assert split.stored[-1, 0] == count - 1


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "got none"),
        ([torch.zeros(3)], r"Use x\[:, None\]"),
        ([torch.zeros(3, 2), torch.zeros(3, 4)], r"shape \(4,\) after 3 rows"),
        ([torch.zeros(3, 2), torch.zeros(3, 2).long()], "got int64 rows"),
        ([{"x": torch.zeros(3, 2)}], "dictionaries with x"),
    ],
)
def test_batches_that_do_not_fit_leave_no_file(batches, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        from_batches(batches, tmp_path / "x.npy")
    assert not [*tmp_path.iterdir()]


def test_a_file_stays_unless_told(tmp_path):
    from_batches([torch.zeros(3, 2)], tmp_path / "x.npy")
    with pytest.raises(ValueError, match="is there. Read it with pv.data.load"):
        from_batches([torch.ones(3, 2)], tmp_path / "x.npy")
    again = from_batches([torch.ones(3, 2)], tmp_path / "x.npy", overwrite=True)
    assert again.stored.min() == 1


def test_fit_says_what_to_do_with_a_generator():
    q = pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 4))
    vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.Gaussian(pv.nn.MLP(2, [4], 3)), q)
    with pytest.raises(ValueError, match=r"pv.data.from_batches\(batches, path\)"):
        pv.fit(vae, (torch.zeros(3, 3) for _ in range(3)))
