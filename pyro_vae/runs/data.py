r"""The data of a run, and other data read in the same way."""

from pathlib import Path
from typing import Any

from .. import data as sets
from ..config import REGISTRY, validate
from ..data import Dataset, Split


def dataset_of(run: Any, data_dir: Path | None, *splits: str) -> Dataset:
    r"""Loads the data of a run; see :meth:`RunFolder.dataset`."""
    recorded = run.recorded
    dataset = sets.load(recorded.recipe.data, data_dir, quiet=True)
    known, found = recorded.data.get("sha256", {}), dataset.record()
    wanted = [name for name in splits if name != "all"] or [*known, *found["sha256"]]
    changed = [
        f"{name} had {recorded.data['sizes'].get(name, 0)} rows, now {found['sizes'].get(name, 0)}"
        for name in dict.fromkeys(wanted)
        if known.get(name) != found["sha256"].get(name)
    ]
    if changed:
        source = getattr(recorded.recipe.data, "path", dataset.name)
        raise ValueError(
            f"Expected the data that {run.path} was trained on; got others: the hashes of "
            f"{source} differ: {'; '.join(changed)}. Restore the data, or evaluate the file as "
            "new data with --data."
        )
    return dataset


def rows_of(
    run: Any, split: str, data: str | None, data_dir: Path | None
) -> tuple[Split, str, str]:
    r"""Returns rows by name; see :meth:`RunFolder.rows`."""
    kind, form = run.recipe.data, run.recorded.form
    if data is None:
        dataset = dataset_of(run, data_dir, split)
        return split_of(dataset, split), dataset.name, split
    known = REGISTRY["data"].get(data.replace("_", "-"))
    if known is None or data == "file":
        path = sets.find_file(Path(data), data_dir)
        rows, which = sets.whole_file(path, kind, split, form)
        return rows, data, which
    rules: dict[str, Any] = {"binarize": kind.binarize, "seed": kind.seed}
    if kind.range != "auto":
        rules["range"] = kind.range
    moved = {name for name, _ in form.get("known_columns", ())}
    rules["known"] = {n: c for n, c in kind.known.items() if not moved & {*c}}  # no table
    dataset = sets.load(validate(rules, known), data_dir, quiet=True)
    return split_of(dataset, split), dataset.name, split


def split_of(dataset: Dataset, name: str) -> Split:
    r"""Returns a split by name; "all" is every row.

    Raises:
        ValueError: There is no such split.
    """
    if name == "all":
        return dataset.all()
    if name not in dataset.splits:
        known = ", ".join(dataset.splits)
        raise ValueError(
            f"Expected one of {known}, all, the splits of {dataset.name}; got {name}. Use --split "
            f"{next(iter(dataset.splits))}."
        )
    return dataset.splits[name]
