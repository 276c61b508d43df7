r"""Additional inputs of model and guide: labels and columns of a table, as tensors."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .content import Column
from .dataset import Dataset
from .split import Split


def with_known(dataset: Dataset, classes: int = 0) -> Dataset:
    r"""Adds to every split the additional inputs that its kind declares in `known`.

    Labels become one-hot rows, NaN where missing; real-valued labels become a column. Columns of a
    table are removed from `x`; their categories become one-hot rows.

    Arguments:
        dataset: The data.
        classes: The minimum number of classes.

    Raises:
        ValueError: The data have no such labels or columns.
    """
    config, splits = dataset.config, {}
    columns_moved: dict[str, Column] = {}
    notes = dataset.notes.splitlines()
    labels = [s.labels for s in dataset.splits.values() if s.labels is not None]
    first = next(iter(dataset.splits.values()))
    count = max(classes, len(first.classes))
    if labels and not any(part.is_floating_point() for part in labels):
        count = max(count, 1 + max(int(part.max()) for part in labels))
    for name, split in dataset.splits.items():
        known: dict[str, Any] = {}
        moved: list[int] = []
        for word, columns in config.known.items():
            if word in split.known:  # a region of images
                continue
            if columns == ("label",):
                chosen = _labels_of(split, count)
                if config.num_labels is not None and name == "train":
                    chosen = _keep(chosen, config.num_labels, config.seed)
                    notes.append(_kept(word, chosen, config.seed))
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
                split, stored=split.stored[:, rest], columns=tuple(split.columns[j] for j in rest)
            )
        splits[name] = split.knowing(**known)
    moved_columns = tuple(columns_moved.values())
    return replace(dataset, splits=splits, moved=moved_columns, notes="\n".join(notes))


def _column(split: Split, place: int) -> Tensor:
    r"""A column as numbers, of shape `(N, 1)`; categories as one-hot rows."""
    values = split.rows(slice(None))[:, place]
    count = len(split.columns[place].categories)
    if not count:
        return values[:, None]
    rows = one_hot(values.nan_to_num().long(), count).to(values.dtype)
    return torch.where(values[:, None].isnan(), torch.nan, rows)


def _labels_of(split: Split, count: int) -> Tensor:
    if split.labels is None:
        raise ValueError(
            f"Expected labels in {split.source}; got none. Set the column with data.label."
        )
    labels = split.labels
    if labels.is_floating_point():
        return labels[:, None].to(torch.get_default_dtype())
    rows = one_hot(labels.clamp(min=0).long(), count)
    there = (labels >= 0)[:, None]
    return torch.where(there, rows.to(torch.get_default_dtype()), torch.nan)


def _kept(word: str, rows: Tensor, seed: int) -> str:
    r"""Says which labels of the training data are kept."""
    there = ~rows.isnan().any(1)
    said = (
        f"{int(there.sum())} of {len(rows)} training data keep their {word}, chosen by data.seed"
    )
    if rows.shape[1] == 1:
        return f"{said} {seed}"
    counts = rows[there].sum(0).long()
    low, high = int(counts.min()), int(counts.max())
    return f"{said} {seed}: {low if low == high else f'{low} to {high}'} of each class"


def _keep(rows: Tensor, count: int, seed: int) -> Tensor:
    r"""Keeps this many rows, evenly over classes if they are one-hot; the others become NaN."""
    order = torch.from_numpy(np.random.default_rng((seed, 1)).permutation(len(rows)))
    there = order[~rows[order].isnan().any(1)]
    if count > len(there):
        raise ValueError(
            f"Expected data.num_labels of at most {len(there)}, the labelled training data; "
            f"got {count}."
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
