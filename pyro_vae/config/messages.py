r"""One message for every setting that is wrong."""

import difflib
from collections.abc import Mapping
from typing import Any

from .kinds import Settings
from .registry import CHOICES
from .sites import ROLES, TAGS


def suggestion(word: str, known: Mapping[str, Any]) -> str:
    """Returns " (did you mean ...?)" where `word` is close to a known one, else nothing."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def choice_of(parents: list[str]) -> str:
    """The registry's name for the table at the end of a dotted key."""
    name = parents[-1] if parents else ""
    if name in ("encoder", "decoder", "net"):
        return "network"
    if name == "family":
        return name
    return parents[0] if len(parents) == 2 and parents[0] in ROLES else name  # a site


def line_of(details: Any, model: type[Settings], values: Mapping[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    path, fields = _resolve(details["loc"], model, values)
    key, got = ".".join(path), details["input"]
    match details["type"]:
        case "extra_forbidden":
            return f"{key}: no such setting{_hint(path, fields)}."
        case "missing":
            about = fields[path[-1]].description if path[-1] in fields else None
            help_text = f" {' '.join(about.split())}" if about else ""
            return f"{key}: this setting has no default; set a value.{help_text}"
        case "value_error" if isinstance(got, dict):  # for a whole table
            return f"{key}: {details['ctx']['error']}.".removeprefix(": ")
        case "value_error":
            return f"{key}: {details['ctx']['error']}; got {got!r}."
        case "union_tag_invalid" | "literal_error" | "union_tag_not_found":
            known: dict[str, Any] = dict(CHOICES.get(choice_of(list(path)), {}))
            if details["type"] == "union_tag_not_found":
                return f"{key}.kind: missing; choose from {', '.join(known)}."
            if details["type"] == "union_tag_invalid":
                key, got = f"{key}.kind", details["ctx"]["tag"]
                expected = details["ctx"]["expected_tags"].replace("'", "")
            else:
                expected = details["ctx"]["expected"].replace("'", "")
            known = dict.fromkeys(expected.replace(" or ", ", ").split(", "))
            return f"{key}: expected one of {expected}; got {got!r}{suggestion(str(got), known)}."
        case _:
            return f"{key}: {details['msg'].lower()}; got {got!r}."


def _hint(path: list[str], fields: Mapping[str, Any]) -> str:
    """A suggestion for a setting that does not exist in this place."""
    if near := suggestion(path[-1], fields):
        return near
    choice = choice_of(path[:-1])
    owners = [n for n, kind in CHOICES.get(choice, {}).items() if path[-1] in kind.model_fields]
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
            choice = CHOICES.get(choice_of([p for p in path if not p.isdigit()]), {})
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
