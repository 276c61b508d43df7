r"""A data set: its splits, and where they come from."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..config import DataKind
from ..randomness import stream
from .content import Column
from .moving import move
from .regions import give_regions
from .split import Split, fingerprint


@dataclass(frozen=True, repr=False)
class Dataset:
    r"""The splits of a data set, prepared by the settings of its kind."""

    config: DataKind
    splits: dict[str, Split]
    notes: str = ""
    """What was decided when the data were read, one line per decision."""
    label: str | None = None
    """The name of the column that holds the labels."""
    moved: tuple[Column, ...] = ()
    """The columns that are additional inputs, not part of `x`."""

    @staticmethod
    def make(
        config: DataKind,
        splits: Mapping[str, Split | None],
        notes: str = "",
        label: str | None = None,
    ) -> "Dataset":
        r"""Sets binarization and range, and draws the bits of validation and test data once.
        Images are turned and shifted, and regions that are given leave `x`, first."""
        ready = {}
        for name, split in splits.items():
            if split is None or len(split) == 0:
                continue
            split = give_regions(move(split, config, name), config.known)
            once = config.binarize == "fixed" or (config.binarize == "dynamic" and name != "train")
            binarize = "dynamic" if once else config.binarize
            if split.levels == 1:  # bits already
                binarize = "no"
            elif split.levels is None and binarize != "no":
                _check_shares(split)
            split = replace(split, binarize=binarize, range=config.range)  # type: ignore[arg-type]
            ready[name] = split.freeze(stream(config.seed, name)) if once else split
        return Dataset(config, ready, notes, label)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(split)}" for name, split in self.splits.items())
        head = f"{self.name}: {sizes}, x of shape {self.train.x_shape}"
        return "\n".join([head, *(f"  {note}" for note in self.notes.splitlines())])

    @property
    def name(self) -> str:
        return self.config.kind  # type: ignore[attr-defined]

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def valid(self) -> Split | None:
        return self.splits.get("valid")

    @property
    def test(self) -> Split | None:
        return self.splits.get("test")

    def all(self) -> Split:
        r"""Returns the rows of all splits: in the order of the file if they come from one, else
        one split after the other. Dynamic bits are drawn once."""
        parts = [split.freeze(self.config.seed) for split in self.splits.values()]
        if len(parts) == 1 and parts[0].numbers is None:
            return parts[0]
        if len(shapes := {part.x_shape for part in parts}) > 1:
            raise ValueError(
                f"Expected splits of one shape to join all rows; got {sorted(shapes)}, as "
                "training sequences are cut into chunks. Take one split."
            )
        x = [part._stored_rows(slice(None)).cpu() for part in parts]
        labels = [part.labels for part in parts if part.labels is not None]
        numbers = torch.cat([part.row_numbers for part in parts])
        whole = replace(
            parts[0],
            stored=torch.cat(x),
            labels=torch.cat(labels) if len(labels) == len(parts) else None,
            numbers=numbers,
            holes=_holes_of(parts),
            known={
                name: torch.cat([part.known[name].cpu() for part in parts])
                for name in parts[0].known
                if all(name in part.known for part in parts)
            },
            factors={n: torch.cat([p.factors[n] for p in parts]) for n in parts[0].factors},
            source=f"{self.name}, all rows",
        )
        if len(numbers.unique()) < len(numbers):  # each split has its own file
            return replace(whole, numbers=None)
        return whole.take(numbers.argsort())

    def form(self) -> dict[str, Any]:
        r"""Returns what is needed to read another file as this one was, as JSON values."""
        return {
            "range": self.config.range,
            "levels": self.train.levels,
            "columns": [[column.name, list(column.categories)] for column in self.train.columns],
            "label": self.label,
            "classes": list(self.train.classes),
            "known": {name: list(v.shape[1:]) for name, v in self.train.known.items()},
            "picture": self.train.picture and list(self.train.picture.shape),
            "known_columns": [[column.name, list(column.categories)] for column in self.moved],
        }

    def record(self) -> dict[str, Any]:
        r"""Returns what a run records about its data, as JSON values."""
        return {
            "name": self.name,
            "sizes": {name: len(split) for name, split in self.splits.items()},
            "x_shape": list(self.train.x_shape),
            "levels": self.train.levels,
            "range": self.config.range,
            "binarize": self.config.binarize,
            "seed": self.config.seed,
            "notes": self.notes,
            "form": self.form(),
            "sha256": {name: fingerprint(split) for name, split in self.splits.items()},
        }


def _holes_of(parts: list[Split]) -> torch.Tensor | None:
    r"""What is hidden of the rows of several splits."""
    if all(part.holes is None for part in parts):
        return None
    nothing = [torch.zeros((len(part), *part.x_shape), dtype=torch.bool) for part in parts]
    every = [none if p.holes is None else p.holes.cpu() for p, none in zip(parts, nothing)]
    return torch.cat(every)


def _check_shares(split: Split) -> None:
    r"""Refuses to draw bits from real numbers that are not probabilities."""
    for x in split.chunks():
        wrong = x[~((x >= 0) & (x <= 1))]
        if len(wrong):
            raise ValueError(
                f"Expected grey levels, or numbers from 0 to 1, to binarize; got {wrong[0]:g} in "
                f"{split.source}. Divide the data by their maximum first, or use "
                "--data.binarize no with --likelihood.kind gaussian."
            )


def cut(split: Split, valid: float, test: float, seed: int | None) -> dict[str, Split]:
    r"""Splits rows into train, valid and test; sizes below 1 are fractions.

    The rows of a tensor are shuffled by `seed` first; without a seed, or in a mapped array, they
    stay in order.
    """
    count = len(split)
    sizes = {"valid": rows(valid, count), "test": rows(test, count)}
    sizes["train"] = count - sum(sizes.values())
    if sizes["train"] < 1:
        raise ValueError(
            f"Expected rows left to train on; got {count} in {split.source}, minus "
            f"{sizes['valid']} for validation and {sizes['test']} for testing. Lower data.valid "
            "or data.test."
        )
    ordered = seed is None or isinstance(split.stored, np.memmap)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    parts, start = {}, 0
    for name in ("train", "valid", "test"):
        span = slice(start, start + sizes[name])
        index = span if ordered else order[span]
        parts[name] = replace(split.take(index), source=f"{split.source}/{name}")
        start += sizes[name]
    return parts


def rows(number: float, count: int) -> int:
    r"""The number of rows, given as a count or as a fraction below 1."""
    return int(number * count) if number < 1 else int(number)


def print_facts(facts: Iterable[str]) -> None:
    r"""Prints what was decided about data."""
    for fact in facts:
        print(f"data: {fact}", file=sys.stderr)
