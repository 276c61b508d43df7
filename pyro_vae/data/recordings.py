r"""Recordings as levels in time."""

from math import log1p
from pathlib import Path

import torch
from torch import Tensor

from .. import config as kinds
from .archives import read_arrays
from .dataset import Dataset
from .places import find, verify
from .split import Split

CLIPS = "fsdd_wave_test300.npz"
CLIPS_SHA256 = "85135739dc7d525a53f13a6f0434f2389f38a605043598444391dd81e7f68212"
PARTS = {"train": (0, 1, 2), "valid": (3,), "test": (4,)}  # recordings of a speaker and digit
HIGHEST = 255


def to_levels(waves: Tensor) -> Tensor:
    r"""Returns waves between -1 and 1 as levels 0 to 255 by the mu-law (ITU-T G.711), whose steps
    are finer for what is quiet.

    .. math:: \mathrm{sign}(x) \frac{\ln(1 + 255 |x|)}{\ln 256}
    """
    bent = waves.sign() * torch.log1p(HIGHEST * waves.abs()) / log1p(HIGHEST)
    return ((bent + 1) / 2 * HIGHEST).round()


def from_levels(levels: Tensor) -> Tensor:
    r"""Returns the waves of levels 0 to 255, between -1 and 1."""
    bent = 2 * levels / HIGHEST - 1
    return bent.sign() * torch.expm1(bent.abs() * log1p(HIGHEST)) / HIGHEST


def fsdd_waves(config: "kinds.FSDDWaves", data_dir: Path | None) -> Dataset:
    r"""Recordings of spoken digits (Jackson et al., 2018), in pieces, as levels by the mu-law."""
    path = verify(find(config.kind, [CLIPS], data_dir, folders=["fsdd"]) / CLIPS, CLIPS_SHA256)
    names = ("speakers", "audio", "offsets", "label", "speaker", "index")
    named, *numbers = read_arrays(path, *names)
    audio, cuts, digit, speaker, index = (torch.from_numpy(array).long() for array in numbers)
    speakers = tuple(map(str, named))
    labels = digit if config.label == "digit" else speaker
    classes = tuple(map(str, range(10))) if config.label == "digit" else speakers
    levels = to_levels(audio.double() / 2**15).to(torch.uint8)
    splits = {}
    for part, recordings in PARTS.items():
        pieces, owners = [], []
        for clip in torch.isin(index, torch.tensor(recordings)).nonzero()[:, 0].tolist():
            own = levels[cuts[clip] : cuts[clip + 1]].unfold(0, config.samples, config.samples)
            pieces.append(own)
            owners.append(labels[clip].repeat(len(own)))
        splits[part] = Split(
            torch.cat(pieces),
            torch.cat(owners),
            levels=HIGHEST,
            source=f"{config.kind}/{part}",
            classes=classes,
        )
    notes = (
        f"pieces of {config.samples} samples at 8 kHz, levels 0..255 by the mu-law; of 5 "
        "recordings of each speaker and digit 3 are for training, one for validation, one for "
        "testing"
    )
    return Dataset.make(config, splits, notes)
