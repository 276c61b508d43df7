r"""From TOML and flags to checked settings, and back."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from .data import Data
from .kinds import Kind, Network, Settings
from .likelihoods import Likelihood
from .posteriors import Posterior
from .priors import Prior
from .recipe import Recipe
from .sites import ROLES, TAGS

CONTROL = r"[\x00-\x1f\x7f]"
MAX_RECIPE_BYTES = 1_000_000
DATA = (".csv", ".tsv", ".npy", ".npz", ".txt", ".parquet", ".png", ".jpg")


def kinds(choice: Any) -> dict[str, type[Kind]]:
    """Returns the kinds of a choice such as :data:`Prior`, by name.

    Example:
        >>> list(kinds(Network))
        ['mlp', 'conv']
    """
    union = get_args(choice)[0] if get_origin(choice) is Annotated else choice
    return {kind.model_fields["kind"].default: kind for kind in get_args(union)}


REGISTRY = {
    "prior": kinds(Prior),
    "likelihood": kinds(Likelihood),
    "posterior": kinds(Posterior),
    "network": kinds(Network),
    "data": kinds(Data),
}

for _kinds in REGISTRY.values():  # help for `kind` names the alternatives
    for _kind in _kinds.values():
        _kind.model_fields["kind"].description = f"One of {', '.join(_kinds)}."


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
            f"Expected a recipe; got {path}, a file of data. For a table, write table --data.path "
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

    A new kind starts from its own defaults. Networks inside stay, as their kind does not change.

    Arguments:
        values: A recipe, not yet validated.
        flags: Settings by dotted key.
        said: Gets a line for every setting that a new kind does not take over.

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
        known = REGISTRY.get(_choice(parents), {})
        if key == "kind" and (new := known.get(str(flags[dotted]).replace("_", "-"))):
            told = _start_anew(table, new)
            if told and said is not None:
                where = ".".join(parents)
                said.append(f"{where}.kind is now {flags[dotted]}; left behind: {', '.join(told)}")
        elif known and not table and parents in (["prior"], ["posterior"]):
            table["kind"] = Recipe.model_fields[parents[0]].default.kind
        table[key] = flags[dotted]
    return result


def _start_anew(table: dict[str, Any], new: type[Kind]) -> list[str]:
    """Takes out the settings of another kind; networks stay where the new kind has such."""
    if str(table.get("kind", "")).replace("_", "-") == new.model_fields["kind"].default:
        return []
    told = []
    for name, value in list(table.items()):
        if isinstance(value, dict) and name in new.model_fields:
            continue
        del table[name]
        if name != "kind":
            told.append(name)
    return told


def validate(values: Mapping[str, Any], model: type[Settings] = Recipe) -> Any:
    """Returns the settings in `values`.

    Raises:
        ValueError: With one line for every value that is wrong, naming key and remedy.
    """
    try:
        values = _copy(values)
        return model.model_validate(values)
    except RecursionError:
        raise ValueError(
            "Expected settings in a few tables; got thousands inside each other."
        ) from None
    except ValidationError as error:
        lines = [_line(details, model, values) for details in error.errors()]
        first = {line.partition(": ")[0]: line for line in reversed(lines)}  # one for a setting
        kept = [line for line in dict.fromkeys(lines) if line in first.values()]
        raise ValueError("\n".join(kept)) from None


def to_toml(settings: Settings, optional: bool = False) -> str:
    """Returns `settings` as TOML that :func:`read_recipe` and :func:`validate` turn back.

    Arguments:
        settings: The settings.
        optional: Whether settings without a value are there, too, as comments.

    Example:
        >>> print(to_toml(kinds(Prior)["vamp"](num_components=9)))
        kind = "vamp"
        num_components = 9
        learned = true
    """
    lines: list[str] = []
    _write_table(settings.model_dump(mode="json"), (), lines, optional)
    return "\n".join(lines).strip() + "\n"


def suggestion(word: str, known: Mapping[str, Any]) -> str:
    """Returns " (did you mean ...?)" where `word` is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    """Copies nested tables, reading `-` and `_` alike in keys and kinds."""
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


def _choice(parents: list[str]) -> str:
    """The registry's name for the table at the end of a dotted key."""
    name = parents[-1] if parents else ""
    if name in ("encoder", "decoder", "net"):
        return "network"
    return parents[0] if len(parents) == 2 and parents[0] in ROLES else name  # a site


def _line(details: Any, model: type[Settings], values: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    path, fields = _resolve(details["loc"], model, values)
    key, got = ".".join(path), details["input"]
    match details["type"]:
        case "extra_forbidden":
            return f"{key}: no such setting{_hint(path, fields)}."
        case "missing":
            about = fields[path[-1]].description if path[-1] in fields else None
            told = f" {' '.join(about.split())}" if about else ""
            return f"{key}: this setting has no default; give it a value.{told}"
        case "value_error" if isinstance(got, dict):  # of a table as a whole
            return f"{key}: {details['ctx']['error']}.".removeprefix(": ")
        case "value_error":
            return f"{key}: {details['ctx']['error']}; got {got!r}."
        case "union_tag_invalid" | "literal_error" | "union_tag_not_found":
            known: dict[str, Any] = dict(REGISTRY.get(_choice(list(path)), {}))
            if details["type"] == "union_tag_not_found":
                return f"{key}.kind: missing; choose from {', '.join(known)}."
            if details["type"] == "union_tag_invalid":
                key, got = f"{key}.kind", details["ctx"]["tag"]
                expected = ", ".join(known)
            else:
                expected = details["ctx"]["expected"].replace("'", "")
                known = dict.fromkeys(expected.replace(" or ", ", ").split(", "))
            return f"{key}: expected one of {expected}; got {got!r}{suggestion(str(got), known)}."
        case _:
            return f"{key}: {details['msg'].lower()}; got {got!r}."


def _hint(path: list[str], fields: Mapping[str, Any]) -> str:
    """What may have been meant by a setting that its place does not have."""
    if near := suggestion(path[-1], fields):
        return near
    choice = _choice(path[:-1])
    owners = [n for n, kind in REGISTRY.get(choice, {}).items() if path[-1] in kind.model_fields]
    if owners:
        where = ".".join([*path[:-1], "kind"])
        return f" here; it belongs to {', '.join(owners)}: set {where} to that"
    return f"; known here: {', '.join(fields)}"


def _resolve(
    location: tuple[int | str, ...], model: type[Settings], values: Any
) -> tuple[list[str], dict[str, Any]]:
    """The dotted path of an error without the tags of unions, and the fields where it happened."""
    path: list[str] = []
    fields: dict[str, Any] = dict(model.model_fields)
    for step in location:
        if isinstance(values, Mapping) and step == values.get("kind") and path:
            choice = REGISTRY.get(_choice([p for p in path if not p.isdigit()]), {})
            if str(step) in choice:
                fields = dict(choice[str(step)].model_fields)
                continue  # the tag of a union
        if path and step in TAGS and not (isinstance(values, Mapping) and step in values):
            continue  # the tag of a part
        if path and not isinstance(values, Mapping | list | tuple):
            continue  # the tag of a type
        path.append(str(step))
        annotation = fields[str(step)].annotation if str(step) in fields else None
        if isinstance(annotation, type) and issubclass(annotation, Settings):
            fields = dict(annotation.model_fields)
        if isinstance(values, list | tuple) and isinstance(step, int) and step < len(values):
            values = values[step]
        else:
            values = values.get(step) if isinstance(values, Mapping) else None
    return path, fields


def _write_table(
    table: Mapping[str, Any], path: tuple[str, ...], lines: list[str], optional: bool
) -> None:
    for key, value in sorted(table.items(), key=lambda item: item[0] != "kind"):
        if value is None:
            lines.extend([f"# {key} ="] if optional else [])
        elif not isinstance(value, dict):
            lines.append(f"{_key(key)} = {_toml_value(value)}")
        elif not value and optional:
            lines.append(f"# {key} = {{}}")
    for key, value in table.items():
        if isinstance(value, dict) and value:
            if not all(isinstance(part, dict) and part for part in value.values()):
                lines.extend(["", f"[{'.'.join(map(_key, (*path, key)))}]"])
            _write_table(value, (*path, key), lines, optional)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else _toml_value(key)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _toml_value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{re.sub(CONTROL, _escape, quoted)}"'
        case dict():
            pairs = {k: v for k, v in value.items() if v is not None}
            return f"{{{', '.join(f'{_key(k)} = {_toml_value(v)}' for k, v in pairs.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(_toml_value, value))}]"
        case float() | int():
            return repr(value)
        case _:
            return _toml_value(str(value))
