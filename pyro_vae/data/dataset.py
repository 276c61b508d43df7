r"""A data set: its splits, and the record of where they come from."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import REGISTRY, DataKind, suggestion, validate
from ..randomness import stream
from .cells import Column
from .split import Split, fingerprint


@dataclass(frozen=True, repr=False)
class Dataset:
    r"""The splits of a data set, made ready by the rules of its kind."""

    config: DataKind
    splits: dict[str, Split]
    notes: str = ""
    """What was decided when the data were read, a line each."""
    label: str | None = None
    """The name of the column that holds the labels."""
    moved: tuple[Column, ...] = ()
    """The columns that are known besides `x`."""

    @staticmethod
    def make(
        config: DataKind,
        splits: Mapping[str, Split | None],
        notes: str = "",
        label: str | None = None,
    ) -> "Dataset":
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
        r"""Returns the rows of all splits: in the order of a file that was cut, else one split
        after the other. Bits that are drawn at visits are drawn once."""
        parts = [split.freeze(self.config.seed) for split in self.splits.values()]
        if len(parts) == 1 and parts[0].numbers is None:
            return parts[0]
        x = [part._stored_rows(slice(None)).cpu() for part in parts]
        labels = [part.labels for part in parts if part.labels is not None]
        numbers = torch.cat([part.row_numbers for part in parts])
        whole = replace(
            parts[0],
            stored=torch.cat(x),
            labels=torch.cat(labels) if len(labels) == len(parts) else None,
            numbers=numbers,
            known={
                name: torch.cat([part.known[name].cpu() for part in parts])
                for name in parts[0].known
                if all(name in part.known for part in parts)
            },
            source=f"{self.name}, all rows",
        )
        if len(numbers.unique()) < len(numbers):  # each split has a file of its own
            return replace(whole, numbers=None)
        return whole.take(numbers.argsort())

    def form(self) -> dict[str, Any]:
        r"""Returns what another file must be like to be read as this one was, as JSON values."""
        return {
            "range": self.config.range,
            "levels": self.train.levels,
            "columns": [[column.name, list(column.categories)] for column in self.train.columns],
            "label": self.label,
            "classes": list(self.train.classes),
            "known": {name: list(v.shape[1:]) for name, v in self.train.known.items()},
            "known_columns": [[column.name, list(column.categories)] for column in self.moved],
        }

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
            "form": self.form(),
            "sha256": {name: fingerprint(split) for name, split in self.splits.items()},
        }


def with_known(dataset: Dataset, classes: int = 0) -> Dataset:
    r"""Gives every split what its kind says that model and guide take besides `x`.

    Labels become one-hot rows, NaN where there is none; real labels a column. Columns of a table
    leave `x`; their categories become one-hot rows.

    Arguments:
        dataset: The data as they were read.
        classes: How many classes there are at least.

    Raises:
        ValueError: There are no such labels or columns.
    """
    config, splits = dataset.config, {}
    columns_moved: dict[str, Column] = {}
    labels = [s.labels for s in dataset.splits.values() if s.labels is not None]
    first = next(iter(dataset.splits.values()))
    count = max(classes, len(first.classes))
    if labels and not any(part.is_floating_point() for part in labels):
        count = max(count, 1 + max(int(part.max()) for part in labels))
    for name, split in dataset.splits.items():
        known: dict[str, Any] = {}
        moved: list[int] = []
        for word, columns in config.known.items():
            if columns == ("label",):
                chosen = _labels_of(split, count)
                if config.num_labels is not None and name == "train":
                    chosen = _keep(chosen, config.num_labels, config.seed)
                known[word] = chosen
                continue
            names = [column.name for column in split.columns]
            if missing := [column for column in columns if column not in names]:
                raise ValueError(
                    f'Expected data.known.{word} as "label" or columns of the data '
                    f"({', '.join(names[:20]) or 'without names'}); got {', '.join(missing)}."
                )
            places = [names.index(column) for column in columns]
            columns_moved |= {split.columns[j].name: split.columns[j] for j in places}
            known[word] = torch.cat([_column(split, j) for j in places], 1)
            moved += places
        if moved:
            rest = [j for j in range(split.x_shape[0]) if j not in moved]
            if not rest:
                raise ValueError(
                    f"Expected columns left for x; got all of {', '.join(names)} in data.known."
                )
            split = replace(
                split,
                stored=split.stored[:, rest],
                columns=tuple(split.columns[j] for j in rest),
            )
        splits[name] = split.knowing(**known)
    return replace(dataset, splits=splits, moved=tuple(columns_moved.values()))


def _column(split: Split, place: int) -> torch.Tensor:
    r"""A column as numbers, of shape `(N, 1)`; categories as one-hot rows."""
    values = split.rows(slice(None))[:, place]
    count = len(split.columns[place].categories)
    if not count:
        return values[:, None]
    rows = torch.nn.functional.one_hot(values.nan_to_num().long(), count).to(values.dtype)
    return torch.where(values[:, None].isnan(), torch.nan, rows)


def _labels_of(split: Split, count: int) -> torch.Tensor:
    if split.labels is None:
        raise ValueError(
            f"Expected labels in {split.source}; got none. Name the column by data.label."
        )
    labels = split.labels
    if labels.is_floating_point():
        return labels[:, None].to(torch.get_default_dtype())
    rows = torch.nn.functional.one_hot(labels.clamp(min=0).long(), count)
    there = (labels >= 0)[:, None]
    return torch.where(there, rows.to(torch.get_default_dtype()), torch.nan)


def _keep(rows: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    r"""So many rows, evenly over classes where they are one-hot; NaN in the place of others."""
    order = torch.from_numpy(np.random.default_rng((seed, 1)).permutation(len(rows)))
    there = order[~rows[order].isnan().any(1)]
    if count > len(there):
        raise ValueError(
            f"Expected at most {len(there)} data.num_labels, as many training data have one; got "
            f"{count}."
        )
    if rows.shape[1] > 1:
        classes = rows[there].argmax(1)
        places = torch.zeros(len(there), dtype=torch.long)
        for code in classes.unique():
            own = classes == code
            places[own] = torch.arange(int(own.sum()))
        there = there[places.argsort(stable=True)]  # one of each class, then the next of each
    kept = torch.full_like(rows, torch.nan)
    kept[there[:count]] = rows[there[:count]]
    return kept


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
        index = span if isinstance(split.stored, np.memmap) else order[span]
        parts[name] = replace(split.take(index), source=f"{split.source}/{name}")
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
    kept = replace(split.take(slice(last, None)), source=f"{split.source} (validation rows)")
    return {"train": split.take(slice(0, last)), "valid": kept}


def rows(number: float, count: int) -> int:
    r"""A number of rows, given as such or as a fraction below 1."""
    return int(number * count) if number < 1 else int(number)


def load(
    config: DataKind | str | Path,
    data_dir: Path | None = None,
    *,
    quiet: bool = False,
    **options: Any,
) -> Dataset:
    r"""Returns the data set that `config` names.

    What was decided about a file is said, a line each, and kept in ``Dataset.notes``.

    Arguments:
        config: A kind of data, such as ``config.MNIST(binarize="dynamic")``; or the name of one
            (``"mnist"``), or a file.
        data_dir: Where to look first; else the folder ``PYRO_VAE_DATA``, then the user's cache.
        quiet: Says nothing.
        options: Settings of the kind, where `config` is a name or a file.

    Raises:
        ValueError: The data are not there, or are not what they should be.
    """
    if isinstance(config, str | Path):
        config = _kind_of(config, options)
    elif options or not hasattr(config, "target"):
        raise ValueError(
            f"Expected a kind of data (pv.config.File(path=...)), a name or a file; got "
            f"{type(config).__name__}{f' beside {chr(44).join(options)}' if options else ''}."
        )
    kind: Any = config
    module, _, name = kind.target.rpartition(".")
    dataset: Dataset = getattr(import_module(module), name)(kind, data_dir)
    if kind.known:
        dataset = with_known(dataset)
    if kind.kind == "file" and not quiet:
        say(dataset.notes.splitlines())
    return dataset


def say(facts: Iterable[str]) -> None:
    r"""Tells people what was decided about data."""
    for fact in facts:
        print(f"data: {fact}", file=sys.stderr)


def _kind_of(name: str | Path, options: Mapping[str, Any]) -> Any:
    r"""The kind of data that a name stands for, or a file of one's own."""
    known = REGISTRY["data"].get(str(name).replace("_", "-"))
    if known is not None and str(name) != "file":
        return validate(options, known)
    if isinstance(name, str) and not Path(name).suffix and not Path(name).expanduser().exists():
        raise ValueError(
            f"Expected a set of data ({', '.join(REGISTRY['data'])}) or a file; got {name!r}"
            f"{suggestion(name, REGISTRY['data'])}."
        )
    return validate({"path": name, **options}, REGISTRY["data"]["file"])
