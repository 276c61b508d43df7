r"""Piano rolls as MIDI files."""

from pathlib import Path

import torch
from torch import Tensor

from ..writing import replacing

LOWEST, KEYS = 21, 88
TICKS = 2  # to a step, a quarter note
REST = 2  # steps between one roll and the next
BEAT = 600_000  # microseconds to a quarter note
LOUDNESS = 80


def write_midi(path: Path, rolls: Tensor) -> None:
    r"""Writes piano rolls as a MIDI file of format 0, one after the other with a rest of two
    steps between.

    A step is a quarter note, 0.6 s. A key that sounds in successive steps is held, since a roll
    does not tell a held note from one that is struck again.

    References:
        | Standard MIDI Files 1.0 (MIDI Manufacturers Association, 1996)

    Arguments:
        path: The file.
        rolls: Which keys sound, of shape `(B, T, 88)`, from the key 21 (A0) up: bits, or
            probabilities, of which those above 1/2 sound. Steps behind the last that is not NaN
            are left out.

    Raises:
        ValueError: The rolls have another shape.
    """
    if rolls.dim() != 3 or rolls.shape[2] != KEYS:
        raise ValueError(f"Expected rolls of shape (B, T, {KEYS}); got {tuple(rolls.shape)}.")
    track = bytearray(b"\x00\xff\x51\x03" + BEAT.to_bytes(3, "big"))
    written = 0
    for time, message in _events(rolls):
        track += _length(time - written) + message
        written = time
    track += b"\x00\xff\x2f\x00"
    header = b"".join(number.to_bytes(2, "big") for number in (0, 1, TICKS))
    chunks = (b"MThd", header), (b"MTrk", bytes(track))
    with replacing(path) as partial:
        partial.write_bytes(
            b"".join(kind + len(of).to_bytes(4, "big") + of for kind, of in chunks)
        )


def _events(rolls: Tensor) -> list[tuple[int, bytes]]:
    r"""The tick and the message of each key that is struck or let go, in order; at one tick keys
    are let go first."""
    found, start = [], 0
    for roll in rolls.detach().cpu():
        there = (~roll.isnan().all(-1)).nonzero()
        steps = int(there[-1]) + 1 if len(there) else 0
        sounds = torch.nn.functional.pad((roll[:steps] > 0.5).int(), (0, 0, 1, 1))
        for step, key in sounds.diff(dim=0).nonzero().tolist():
            struck = bool(sounds[step + 1, key])
            status, loudness = (0x90, LOUDNESS) if struck else (0x80, 0)
            message = bytes([status, LOWEST + key, loudness])
            found.append(((start + step) * TICKS, struck, message))
        start += steps + REST
    return [(time, message) for time, _, message in sorted(found)]


def _length(number: int) -> bytes:
    r"""A number in groups of seven bits, of which all but the last have the eighth bit set."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))
