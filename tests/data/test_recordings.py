"""Recordings in pieces, as levels by the mu-law and back."""

import numpy as np
import torch
from checks import needs_data

import pyro_vae as pv
from pyro_vae.data import from_levels, places, to_levels


def test_levels_are_those_of_the_mu_law():
    levels = torch.arange(256.0)
    assert torch.equal(to_levels(from_levels(levels)), levels)
    waves = torch.linspace(-1, 1, 1001).double()
    error = (from_levels(to_levels(waves)) - waves).abs()
    assert float((error / (waves.abs() + 1 / 255)).max()) < np.log(256) / 255 * 1.02  # half a step
    assert to_levels(torch.tensor([-1.0, 1.0])).tolist() == [0, 255]


@needs_data
def test_pieces_are_of_the_recordings():
    data = pv.data.fsdd_waves(range="levels", samples=256)
    folder = places.find("fsdd", ["fsdd_wave_test300.npz"], None)
    with np.load(folder / "fsdd_wave_test300.npz") as clips:
        audio, cuts, index = clips["audio"], clips["offsets"], clips["index"]
    first = from_levels(data.train.rows(slice(0, 1)))[0].double()
    clip = torch.from_numpy(audio[cuts[0] : cuts[0] + 256] / 32768)
    assert float((first - clip).abs().max()) < 0.015  # half of the widest step is 0.0109
    pieces = np.diff(cuts) // 256
    for part, recordings in {"train": [0, 1, 2], "valid": [3], "test": [4]}.items():
        assert len(data.splits[part]) == pieces[np.isin(index, recordings)].sum()
    assert {*data.test.labels.tolist()} == {*range(10)}
    assert len(pv.data.fsdd_waves(label="speaker").train.classes) == 6
