"""Piano rolls are written as MIDI, read back byte by byte."""

import pytest
import torch
from midi import read

from pyro_vae.data import write_midi


def test_notes_are_those_of_the_roll(tmp_path):
    rolls = torch.full((2, 300, 88), torch.nan)
    rolls[0, :300] = 0.0
    rolls[0, 0:4, 39] = 1.0  # middle C, held for four steps
    rolls[0, 2, 43] = 1.0
    rolls[0, 299, 87] = 1.0  # after a wait of more than 127 ticks
    rolls[1, :3] = 0.2  # probabilities
    rolls[1, 0, 0], rolls[1, 2, 0] = 0.9, 0.6  # let go and struck again
    write_midi(tmp_path / "x.mid", rolls)
    notes, beat = read(tmp_path / "x.mid")
    second = 300 + 2
    assert notes == [(0, 4, 60), (2, 3, 64), (299, 300, 108), (second, second + 1, 21),
                     (second + 2, second + 3, 21)]  # fmt: skip
    assert beat == 600_000


def test_any_roll_comes_back(tmp_path):
    """Up to the padding, of which a file knows nothing."""
    rolls = (torch.rand(1, 40, 88, generator=torch.Generator().manual_seed(0)) < 0.1).float()
    write_midi(tmp_path / "x.mid", rolls)
    back = torch.zeros(40, 88)
    for start, end, key in read(tmp_path / "x.mid")[0]:
        back[int(start) : int(end), key - 21] = 1.0
    assert torch.equal(back, rolls[0])


def test_silence_is_a_file(tmp_path):
    write_midi(tmp_path / "x.mid", torch.full((2, 3, 88), torch.nan))
    assert read(tmp_path / "x.mid") == ([], 600_000)


def test_other_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected rolls of shape \(B, T, 88\); got \(3, 88\)"):
        write_midi(tmp_path / "x.mid", torch.zeros(3, 88))
