r"""Records as text: rows of metrics, JSON, and differences of settings."""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Recipe, RelativeRecipe, to_toml
from .place import CONFIG, DATA

if TYPE_CHECKING:
    from ..data import Dataset


def read_metrics(path: Path) -> list[dict[str, Any]]:
    r"""Returns the complete rows of a metrics.jsonl; none if there is no such file."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:  # it is truncated
            continue
    return rows


def to_json(record: Mapping[str, Any]) -> str:
    r"""Returns a record as JSON, with null for NaN and infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not isfinite(value) else value

    return json.dumps(plain(dict(record)), allow_nan=False)


def settings_of(recipe: Recipe | RelativeRecipe) -> dict[str, Any]:
    r"""Returns the settings of a recipe as JSON values."""
    return recipe.model_dump(mode="json")


def declaration(recipe: Recipe | RelativeRecipe, dataset: "Dataset") -> dict[str, Any]:
    r"""Returns the record of recipe and data in a run, as keywords of :func:`pyro_vae.fit`."""
    data = dataset.record()
    x_shape, scale = dataset.train.x_shape, dataset.train.scale
    record = {"recipe": settings_of(recipe), "data": data}
    return {
        "record": {**record, "x_shape": list(x_shape), "scale": scale},
        "files": {CONFIG: to_toml(recipe), DATA: json.dumps(data, indent=2) + "\n"},
    }


def differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    r"""Returns a line for each setting that differs.

    Example:
        >>> differences({"train": {"lr": 0.001}}, {"train": {"lr": 0.1}})
        ['train.lr was 0.001 and is 0.1']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys([*old, *new])
        changed = (differences(old.get(k), new.get(k), f"{prefix}{k}.") for k in keys)
        return [line for lines in changed for line in lines]
    return [] if old == new else [f"{prefix[:-1]} was {_short(old)} and is {_short(new)}"]


def _short(value: Any) -> str:
    if isinstance(value, dict) and "kind" in value:
        return str(value["kind"])
    return "not set" if value is None else str(value)
