r"""Parses a command and its flags, among them settings of recipes."""

import tomllib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import tyro

from ..config import KINDS, Recipe, override, read_recipe, suggestion, validate
from ..config import Train as TrainSettings
from .commands import COMMANDS
from .commands.train import Train

RENAMED = {"--kept": "--cache"}
r"""Flags renamed since the last release."""


def parse(args: list[str]) -> Callable[[], None]:
    r"""Returns the command, ready to be called."""
    args = [_named(token) for token in args]
    name = args[0] if args else ""
    if not getattr(COMMANDS.get(name), "takes_settings", False):
        tokens = [token.replace("_", "-") if token.startswith("--") else token for token in args]
        return tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            args=tokens,
            prog="pyro-vae",
            description="Variational autoencoders as probabilistic programs.",
        )
    command: Any = COMMANDS[name]
    rest, flags = take_settings(args[1:], command)
    if name == "train":
        if {"-h", "--help"} & {*rest} and any(not token.startswith("-") for token in rest):
            return _train_help(rest, flags)
        if "--resume" in rest:
            after = rest.index("--resume") + 1
            if after == len(rest) or rest[after].startswith("-"):
                rest.insert(after, "newest")
    return partial(tyro.cli(command, args=rest, prog=f"pyro-vae {name}"), flags)


def _named(token: str) -> str:
    r"""A flag under its current name."""
    flag, equals, value = token.partition("=")
    new = RENAMED.get(flag.replace("_", "-"))
    if new is None:
        return token
    warnings.warn(f"{flag} is now {new}.", DeprecationWarning, stacklevel=2)
    return new + equals + value


def _train_help(rest: list[str], flags: dict[str, Any]) -> Any:
    r"""Prints help with the settings of the given recipe, then exits."""
    name = next(token for token in rest if not token.startswith("-"))
    values = override(read_recipe(name), flags)
    if values["data"].get("kind") == "file":  # help does not need the file
        values["data"].setdefault("path", "FILE")
    example = {"kind": "gaussian"}
    fields_of = KINDS["likelihood"].get(values.get("likelihood", {}).get("kind", ""))
    if fields_of is not None and "parts" in fields_of.model_fields:
        values["likelihood"].setdefault("parts", [{"columns": [0], "likelihood": example}])
    if fields_of is not None and "family" in fields_of.model_fields:
        values["likelihood"].setdefault("family", example)
    recipe = validate(values)

    @dataclass(kw_only=True)
    class WithSettings(Train):
        settings: Annotated[type(recipe), tyro.conf.arg(name="")] = recipe  # type: ignore[valid-type]

    WithSettings.__doc__ = (
        f"{(Train.__doc__ or '').splitlines()[0]} These are the settings of {name!r}."
    )
    return tyro.cli(
        WithSettings,
        args=["--help"],
        default=WithSettings(recipe=name),
        prog=f"pyro-vae train {name}",
        config=(tyro.conf.AvoidSubcommands,),
    )


def take_settings(args: list[str], command: Any) -> tuple[list[str], dict[str, Any]]:
    r"""Removes from `args` the flags that are settings of a recipe, not of `command`.

    Example:
        >>> take_settings(["digits", "--seed", "3", "--prior.kind=vamp", "--out", "a"], Train)
        (['digits', '--out', 'a'], {'seed': 3, 'prior.kind': 'vamp'})
    """
    own = {f"--{field.name.replace('_', '-')}" for field in fields(command)}
    own |= {"--help", "--no-overwrite"}
    rest: list[str] = []
    flags: dict[str, Any] = {}
    queue = [*args]
    while queue:
        token = queue.pop(0)
        flag, equals, value = token.partition("=")
        key = flag.removeprefix("--").replace("-", "_")
        if not token.startswith("--"):
            rest.append(token)
        elif flag.replace("_", "-") in own:
            rest.append(flag.replace("_", "-") + equals + value)
        elif flag in ("--compile", "--no-compile"):
            flags["train.compile"] = "no" if flag == "--no-compile" else "yes"
        elif "." in key or key in Recipe.model_fields:
            flags[key] = _value(value) if equals else _next_value(flag, key, queue)
        else:
            raise ValueError(f"{flag}: no such flag{_hint(flag, own)}. See pyro-vae train --help.")
    return rest, flags


def _next_value(flag: str, key: str, queue: list[str]) -> Any:
    r"""The value after a flag; a switch does not need one."""
    if not queue or queue[0].startswith("--"):
        if key.rpartition(".")[2] in switches():
            return True
        raise ValueError(f"{flag}: expected a value; got none.")
    value = _value(queue.pop(0))
    if not queue or not isinstance(_value(queue[0]), int | float):
        return value
    values = [value]
    while queue and isinstance(_value(queue[0]), int | float):
        values.append(_value(queue.pop(0)))
    text = ",".join(map(str, values))
    warnings.warn(
        f"Lists are now written with commas: {flag} {text}.", DeprecationWarning, stacklevel=2
    )
    return values


def _hint(flag: str, own: set[str]) -> str:
    r"""A suggestion for a flag that does not exist."""
    key = flag.removeprefix("--").replace("-", "_")
    settings = _dotted(Recipe)
    if leaves := [name for name in settings if name.rpartition(".")[2] == key]:
        return f" (did you mean --{leaves[0].replace('_', '-')}?)"
    return suggestion(flag, dict.fromkeys([*own, *(f"--{n.replace('_', '-')}" for n in settings)]))


def switches() -> set[str]:
    r"""The names of settings that are on or off, whose flags need no value."""
    kinds = [kind for choice in KINDS.values() for kind in choice.values()]
    models: list[Any] = [Recipe, TrainSettings, *kinds]
    settings = [item for model in models for item in model.model_fields.items()]
    return {name for name, info in settings if info.annotation is bool}


def _dotted(model: Any, prefix: str = "") -> list[str]:
    names = []
    for name, info in model.model_fields.items():
        names.append(prefix + name)
        if hasattr(info.annotation, "model_fields"):
            names += _dotted(info.annotation, f"{prefix}{name}.")
    return names


def _value(text: str) -> Any:
    r"""Reads a value as TOML if it is valid, as a list if it has commas, else as text."""
    if text.lower() == "none":
        return None
    for literal in (text, f"[{text}]") if "," in text else (text,):
        try:
            return tomllib.loads(f"value = {literal}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    return text
