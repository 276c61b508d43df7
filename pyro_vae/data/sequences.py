r"""Sequences: of one length by NaN behind their ends, in chunks, and those that have a name."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .. import config as kinds
from .archives import read_arrays
from .dataset import Dataset, cut
from .midi import KEYS, LOWEST
from .places import find, verify
from .split import Split

JSB, FSDD = "jsb-chorales-quarter.json", "fsdd_logmel32.npz"
JSB_SHA256 = "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91"
FSDD_SHA256 = "26649ec5c66989f38dc880f4bb09de1038d38cbe1ce41bfe719fc051c5bd9416"
TESTED = 5  # the first recordings of a speaker and digit are for testing


def pad(sequences: Sequence[Tensor], num_steps: int | None = None) -> Tensor:
    r"""Returns sequences of several lengths as one tensor, with NaN behind their ends.

    Arguments:
        sequences: Sequences of shape `(T_i, D)`.
        num_steps: The length of all; by default that of the longest.

    Returns:
        A tensor of shape `(N, T, D)`.

    Raises:
        ValueError: A sequence is longer, or has another number of elements in a step.

    Example:
        >>> pad([torch.zeros(2, 1), torch.ones(1, 1)])[:, :, 0]
        tensor([[0., 0.],
                [1., nan]])
    """
    if not len(sequences):
        raise ValueError("Expected one sequence at least; got none.")
    length = max(map(len, sequences)) if num_steps is None else num_steps
    size = sequences[0].shape[1:]
    for number, sequence in enumerate(sequences):
        if sequence.dim() != 2 or sequence.shape[1:] != size or len(sequence) > length:
            raise ValueError(
                f"Expected sequences of shape (T, {', '.join(map(str, size))}) with T of at most "
                f"{length}; got {tuple(sequence.shape)} of sequence {number}."
            )
    whole = torch.full((len(sequences), length, *size), torch.nan)
    for row, sequence in zip(whole, sequences):
        row[: len(sequence)] = sequence
    return whole


def in_chunks(split: Split, num_steps: int) -> Split:
    r"""Returns chunks of `num_steps` steps of the sequences of a split, each with what is known of
    its sequence. The last chunk of a sequence is padded; chunks of padding alone are left out.

    Arguments:
        split: Sequences of shape `(N, T, D)`.
        num_steps: The length of a chunk.
    """
    x = split.stored
    count = -(-x.shape[1] // num_steps)
    if extra := count * num_steps - x.shape[1]:
        rest = torch.full((len(x), extra, *x.shape[2:]), torch.nan)
        x = torch.cat([x.to(rest.dtype), rest], 1)
    chunks = x.unflatten(1, (count, num_steps)).flatten(0, 1)
    there = (~chunks.isnan()).flatten(1).any(1)
    owners = torch.arange(len(x)).repeat_interleave(count)
    return replace(split.take(owners[there]), stored=chunks[there])


def jsb_chorales(config: "kinds.JSBChorales", data_dir: Path | None) -> Dataset:
    r"""Bach's chorales (Boulanger-Lewandowski et al., 2012), by quarter notes."""
    folder = find(config.kind, [JSB], data_dir)
    pieces = json.loads(verify(folder / JSB, JSB_SHA256).read_text(encoding="utf-8"))
    longest = max(len(notes) for part in pieces.values() for notes in part)
    splits = {
        part: Split(pad([*map(piano_roll, pieces[part])], longest), source=f"{config.kind}/{part}")
        for part in ("train", "valid", "test")
    }
    return _made(config, splits, "bits of the keys 21 to 108 (MIDI), a step is a quarter note")


def piano_roll(notes: Sequence[Sequence[int]]) -> Tensor:
    r"""Which keys sound at each step, of shape `(T, 88)`, from the numbers of notes in MIDI."""
    roll = torch.zeros(len(notes), KEYS)
    for step, chord in enumerate(notes):
        roll[step, [note - LOWEST for note in chord]] = 1.0
    return roll


def fsdd(config: "kinds.FSDD", data_dir: Path | None) -> Dataset:
    r"""Spoken digits (Jackson et al., 2018) as 32 frames of 32 log-mel levels."""
    path = find(config.kind, [FSDD], data_dir) / FSDD
    names = ("speakers", "logmel", "label", "speaker", "index")
    named, *numbers = read_arrays(path, *names)
    mel, *others = (torch.from_numpy(array) for array in numbers)
    speakers = tuple(map(str, named))
    if sha256(mel.numpy().tobytes()).hexdigest() != FSDD_SHA256:
        raise ValueError(
            f"Expected the log-mel frames of the 3000 recordings in {path}; got others. Fetch it "
            "again."
        )
    digit, speaker, index = (values.long() for values in others)
    labels = {"digit": digit, "speaker": speaker}
    classes = {"digit": tuple(map(str, range(10))), "speaker": speakers}
    given = {
        word: one_hot(labels[names[0]], len(classes[names[0]])).to(torch.get_default_dtype())
        for word, names in config.known.items()
        if len(names) == 1 and names[0] in labels
    }
    whole = Split(
        mel.transpose(1, 2).contiguous(),
        labels[config.label],
        levels=255,
        source=config.kind,
        classes=classes[config.label],
    ).knowing(**given)
    rows = cut(whole.take((index >= TESTED).nonzero()[:, 0]), config.valid, 0, config.seed)
    test = replace(whole.take((index < TESTED).nonzero()[:, 0]), source=f"{config.kind}/test")
    notes = (
        "levels 0..255 of -60 to 30 dB; recordings 0 to 4 of each speaker and digit are for "
        "testing"
    )
    return _made(config, {**rows, "test": test}, notes)


def _made(config: "kinds.Sequences", splits: dict[str, Split], notes: str) -> Dataset:
    r"""The data set, whose training sequences are cut into chunks if the settings say so."""
    if config.steps is not None:
        count = len(splits["train"])
        splits["train"] = in_chunks(splits["train"], config.steps)
        notes += (
            f"\n{count} training sequences are cut into {len(splits['train'])} chunks of "
            f"{config.steps} steps"
        )
    return Dataset.make(config, splits, notes)
