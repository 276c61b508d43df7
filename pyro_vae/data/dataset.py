r"""A data set: its splits, and the record of where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.data import DataKind
from ..randomness import stream
from .split import Split, fingerprint


@dataclass(frozen=True)
class Dataset:
    r"""The splits of a data set, made ready by the rules of its kind."""

    config: DataKind
    splits: dict[str, Split]
    notes: str = ""

    @staticmethod
    def make(config: DataKind, splits: Mapping[str, Split | None], notes: str = "") -> "Dataset":
        r"""Applies binarization and range; bits of validation and test data are drawn once."""
        ready = {}
        for name, split in splits.items():
            if split is None or len(split) == 0:
                continue
            once = config.binarize == "fixed" or (config.binarize == "dynamic" and name != "train")
            binarize = "dynamic" if once else config.binarize
            if split.levels == 1:  # bits already
                binarize = "no"
            elif split.levels is None and binarize != "no":
                _check_shares(split)
            split = replace(split, binarize=binarize, range=config.range)  # type: ignore[arg-type]
            ready[name] = split.freeze(stream(config.seed, name)) if once else split
        return Dataset(config, ready, notes)

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

    def record(self) -> dict[str, Any]:
        r"""Returns what a run remembers of its data, as JSON values."""
        return {
            "name": self.name,
            "sizes": {name: len(split) for name, split in self.splits.items()},
            "x_shape": list(self.train.x_shape),
            "levels": self.train.levels,
            "range": self.config.range,
            "binarize": self.config.binarize,
            "seed": self.config.seed,
            "notes": self.notes,
            "sha256": {name: fingerprint(split) for name, split in self.splits.items()},
        }


def _check_shares(split: Split) -> None:
    r"""Refuses real numbers that are no probabilities, which is what bits are drawn from."""
    for x in split.chunks():
        wrong = x[~((x >= 0) & (x <= 1))]
        if len(wrong):
            raise ValueError(
                f"Expected grey levels, or numbers from 0 to 1, to binarize; got {wrong[0]:g} in "
                f"{split.source}. Divide the data by their highest value first, or take "
                "--data.binarize no with --likelihood.kind gaussian."
            )


def cut(split: Split, valid: float, test: float, seed: int) -> dict[str, Split]:
    r"""Cuts rows into train, valid and test; numbers below 1 are fractions.

    The rows of a tensor are shuffled by `seed` first; those of a mapped array stay in order.
    """
    count = len(split)
    sizes = {"valid": rows(valid, count), "test": rows(test, count)}
    sizes["train"] = count - sum(sizes.values())
    if sizes["train"] < 1:
        raise ValueError(
            f"Expected rows left to train on; got {count} in {split.source}, of which "
            f"{sizes['valid']} validate and {sizes['test']} test. Lower data.valid or data.test."
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    parts, start = {}, 0
    for name in ("train", "valid", "test"):
        span = slice(start, start + sizes[name])
        index: Any = span if isinstance(split.stored, np.memmap) else order[span]
        parts[name] = replace(
            split,
            stored=split.stored[index],
            labels=None if split.labels is None else split.labels[index],
            source=f"{split.source}/{name}",
        )
        start += sizes[name]
    return parts


def hold_out(split: Split, valid: float) -> dict[str, Split]:
    r"""Keeps the last rows of a training set for validation."""
    size = rows(valid, len(split))
    if size >= len(split):
        raise ValueError(
            f"Expected rows left to train on; got {len(split)} in {split.source}, of which {size} "
            "validate. Lower data.valid."
        )
    last = len(split) - size
    return {
        name: replace(
            split,
            stored=split.stored[span],
            labels=None if split.labels is None else split.labels[span],
            source=split.source if name == "train" else f"{split.source} (validation rows)",
        )
        for name, span in (("train", slice(0, last)), ("valid", slice(last, None)))
    }


def rows(number: float, count: int) -> int:
    r"""A number of rows, given as such or as a fraction below 1."""
    return int(number * count) if number < 1 else int(number)


def load(config: DataKind, data_dir: Path | None = None) -> Dataset:
    r"""Returns the data set that `config` names.

    Arguments:
        config: A kind of data, such as ``config.MNIST(binarize="dynamic")``.
        data_dir: Where to look first; else the folder ``PYRO_VAE_DATA``, then the user's cache.

    Raises:
        ValueError: The data are not there, or are not what they should be.
    """
    module, _, name = config.target.rpartition(".")
    return getattr(import_module(module), name)(config, data_dir)
