r"""A run, opened: what its checkpoint says of recipe and data, and the data found again."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import REGISTRY, Recipe, read_recipe, validate

if TYPE_CHECKING:
    from ..data import Dataset, Split


class Opened(NamedTuple):
    r"""A run as its newest checkpoint records it.

    Attributes:
        path: Its folder.
        recipe: The recipe.
        data: The record of its data.
        epochs: How many epochs it has.
        stopped: Whether it stopped early, by its own rule.
    """

    path: Path
    recipe: Recipe
    data: Mapping[str, Any]
    epochs: int
    stopped: bool


def open_run(run: Path) -> Opened:
    r"""Reads what the newest checkpoint of a run records.

    Raises:
        ValueError: There is no run, or it has no recipe.
        CheckpointError: It has no whole checkpoint.
    """
    from ..checkpoint import newest, read, understood

    if not run.is_dir() or not ((run / "checkpoints").is_dir() or (run / "config.toml").exists()):
        raise ValueError(f"Expected the folder of a run, with config.toml; got {run}.")
    source = newest(run)
    _, state = read(source)
    with understood(source):
        return _recorded(run, state)


def _recorded(run: Path, state: Mapping[str, Any]) -> Opened:
    record = state["record"]
    if not record:
        raise ValueError(
            f"Expected a run of a recipe; got {run}, which fit() made without one. In Python, "
            f"pv.load({str(run)!r}, vae=vae) loads it into the VAE that you build."
        )
    recipe = validate(record["recipe"])
    changed = _edited(run / "config.toml", recipe)
    if changed:
        print(
            f"{run / 'config.toml'} differs from what the checkpoint records: "
            f"{'; '.join(changed)}. The checkpoint's own settings are taken.",
            file=sys.stderr,
        )
    position, data = state["position"], {**record["data"]}
    stopped = position["finished"] and position["epoch"] < recipe.train.epochs
    return Opened(run, recipe, data, position["epoch"], stopped)


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    r"""Says which settings differ, each as "train.lr was 0.001 and is 0.1"."""
    if isinstance(old, dict) and isinstance(new, dict):
        told: list[str] = []
        for key in dict.fromkeys([*old, *new]):
            told += differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return told
    return [] if old == new else [f"{prefix[:-1]} was {_short(old)} and is {_short(new)}"]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json")


def _short(value: Any) -> str:
    if isinstance(value, dict) and "kind" in value:
        return str(value["kind"])
    return "not set" if value is None else str(value)


def _edited(path: Path, recipe: Recipe) -> list[str]:
    if not path.is_file():
        return [f"{path.name} is gone"]
    try:
        written = validate(read_recipe(path))
    except ValueError as error:
        return [str(error).splitlines()[0]]
    told = differences(settings_of(recipe), settings_of(written))
    return [line for line in told if not line.startswith("train.epochs ")]  # a later resumption


def data_of(run: Opened, data_dir: Path | None, *splits: str) -> "Dataset":
    r"""Loads the data of a run, and makes sure that they are those of training.

    Arguments:
        run: The run.
        data_dir: Where to look first.
        splits: Which splits have to be the same; all by default.

    Raises:
        ValueError: The data are not there, or are others.
    """
    from .. import data

    dataset = data.load(run.recipe.data, data_dir, quiet=True)
    known = run.data.get("sha256", {})
    found = dataset.record()
    wanted = [name for name in splits if name != "all"] or [*known, *found["sha256"]]
    changed = [
        f"{name} had {run.data['sizes'].get(name, 0)} rows, now {found['sizes'].get(name, 0)}"
        for name in dict.fromkeys(wanted)
        if known.get(name) != found["sha256"].get(name)
    ]
    if changed:
        source = getattr(run.recipe.data, "path", dataset.name)
        raise ValueError(
            f"Expected the data that {run.path} was trained on; got others, as the hashes of "
            f"{source} differ: {'; '.join(changed)}. Put the data back, or evaluate the file as "
            "new data with --data."
        )
    return dataset


def rows_of(
    run: Opened, split: str, data: str | None, data_dir: Path | None
) -> tuple["Split", str, str]:
    r"""The rows of the run's data, of another known set, or of a file, read as the run's were;
    with the names of data and split."""
    from .. import data as sets

    kind = run.recipe.data
    if data is None:
        dataset = data_of(run, data_dir, split)
        return split_of(dataset, split), dataset.name, split
    known = REGISTRY["data"].get(data.replace("_", "-"))
    if known is None or data == "file":
        path = sets.find_file(Path(data), data_dir)
        rows, which = sets.whole_file(path, kind, split, run.data.get("form"))
        return rows, data, which
    rules: dict[str, Any] = {"binarize": kind.binarize, "seed": kind.seed}
    if kind.range != "auto":
        rules["range"] = kind.range
    labels = {name: columns for name, columns in kind.known.items() if columns == ("label",)}
    rules["known"] = labels  # what a known set has, too
    dataset = sets.load(validate(rules, known), data_dir, quiet=True)
    return split_of(dataset, split), dataset.name, split


def split_of(dataset: "Dataset", name: str) -> "Split":
    r"""A split by name; "all" is every row."""
    if name == "all":
        return dataset.all()
    if name not in dataset.splits:
        known = ", ".join(dataset.splits)
        raise ValueError(
            f"Expected one of {known}, all, the splits of {dataset.name}; got {name}. Say --split "
            f"{next(iter(dataset.splits))}."
        )
    return dataset.splits[name]


def newest_run(name: str | None) -> Path:
    r"""The newest run below `runs/`, of a recipe or of any."""
    found = []
    for path in Path("runs").glob("*/config.toml"):
        try:
            values = read_recipe(path)
        except ValueError:
            continue
        if name is None or values.get("name") == name:
            found.append(path)
    if not found:
        of = f" of {name!r}" if name else ""
        raise ValueError(f"Expected a run{of} below runs/ to resume; found none.")
    return max(found, key=lambda path: path.stat().st_mtime).parent
