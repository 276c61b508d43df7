r"""From TOML and flags to validated settings."""

import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .kinds import Kind, Settings
from .messages import choice_of, line_of, suggestion
from .recipe import Recipe, RelativeRecipe
from .registry import CHOICES

MAX_RECIPE_BYTES = 1_000_000
DATA = (".csv", ".tsv", ".npy", ".npz", ".txt", ".parquet", ".png", ".jpg")


def recipes() -> dict[str, Path]:
    """Returns the recipes that come with the package, by name."""
    folder = Path(str(resources.files("pyro_vae") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(name: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the values in a recipe, given by name or as a TOML file, not yet validated.

    Raises:
        ValueError: There is no such recipe, or it is not TOML.
    """
    path = recipes().get(str(name).replace("_", "-"), Path(name))
    if not path.is_file():
        hint = suggestion(str(name), recipes())
        raise ValueError(
            f"Expected a recipe ({', '.join(recipes())}) or a TOML file; got {str(name)!r}{hint}."
        )
    if path.suffix.lower() in DATA:
        raise ValueError(
            f"Expected a recipe; got {path}, a data file. For a table, write table --data.path "
            f"{path}."
        )
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise ValueError(f"Expected a recipe below 1 MB; got {path}, {path.stat().st_size} bytes.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"Expected TOML in {path}; got {error}.") from None
    return {"name": path.stem, **values}


def override(
    values: Mapping[str, Any], flags: Mapping[str, Any], said: list[str] | None = None
) -> dict[str, Any]:
    """Returns `values` with dotted keys replaced, as in ``{"prior.kind": "vamp"}``.

    A new kind starts from its own defaults, but keeps its networks, whose kind does not change.

    Arguments:
        values: A recipe, not yet validated.
        flags: Settings by dotted key.
        said: Receives a line for each change of kind that drops settings.

    Example:
        >>> vamp = {"prior": {"kind": "vamp", "num_components": 9}}
        >>> override(vamp, {"prior.kind": "standard-normal"})
        {'prior': {'kind': 'standard-normal'}}
    """
    result = _copy(values)
    for dotted in sorted(flags, key=lambda key: not key.endswith("kind")):  # kinds come first
        *parents, key = dotted.replace("-", "_").split(".")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ValueError(f"Unknown key {dotted!r}: {parent!r} is a value, not a table.")
        known = CHOICES.get(choice_of(parents), {})
        if key == "kind" and (new := known.get(str(flags[dotted]).replace("_", "-"))):
            dropped = _change_kind(table, new)
            if dropped and said is not None:
                where = ".".join(parents)
                said.append(f"{where}.kind is now {flags[dotted]}; dropped: {', '.join(dropped)}")
        elif known and not table and parents in (["prior"], ["posterior"]):
            table["kind"] = Recipe.model_fields[parents[0]].default.kind
        table[key] = flags[dotted]
    return result


def _change_kind(table: dict[str, Any], new: type[Kind]) -> list[str]:
    """Removes the settings of another kind, except networks that the new kind has too."""
    if str(table.get("kind", "")).replace("_", "-") == new.model_fields["kind"].default:
        return []
    dropped = []
    for name, value in list(table.items()):
        if isinstance(value, dict) and name in new.model_fields:
            continue
        del table[name]
        if name != "kind":
            dropped.append(name)
    return dropped


def validate(values: Mapping[str, Any], model: type[Settings] | None = None) -> Any:
    """Returns the settings in `values`.

    Arguments:
        values: The settings, not yet validated.
        model: What they are of; by default a recipe, of a relative if there is a table `model`.

    Raises:
        ValueError: With one line per wrong value, naming key and remedy.
    """
    try:
        values = _copy(values)
        model = model or (RelativeRecipe if "model" in values else Recipe)
        return model.model_validate(values)
    except RecursionError:
        raise ValueError(
            "Expected settings in a few tables; got thousands of nested ones."
        ) from None
    except ValidationError as error:
        assert model is not None
        lines = [line_of(details, model, values) for details in error.errors()]
        first = {line.partition(": ")[0]: line for line in reversed(lines)}  # one per setting
        kept = [line for line in dict.fromkeys(lines) if line in first.values()]
        raise ValueError("\n".join(kept)) from None


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copies nested tables, treating `-` and `_` as equal in keys and kinds."""
    result = {}
    for key, value in values.items():
        key = key.replace("-", "_")
        if key in result:
            raise ValueError(f"{key}: set twice, with - and with _; keep one.")
        if isinstance(value, Mapping):
            value = _copy(value)
        elif key == "kind" and isinstance(value, str):
            value = value.replace("_", "-")
        result[key] = value
    return result
