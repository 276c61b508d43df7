r"""A model as a declaration: the classes it is made of, with their arguments, as JSON.

Only classes of this package and of :mod:`torch.nn` are written and read, by their public names, so
that reading a declaration runs no foreign code.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import type_before_parametrizations as kind

from ..base import Factor
from ..precision import default_dtype
from ..programs import dtype_of
from ..randomness import apart
from ..remembered import Remembers

MODELS = ("models", "base", "priors", "likelihoods", "posteriors", "gallery")
ROOMS = (*MODELS, "nn", "flows", "transforms")
PLAIN = (bool, int, float, str, type(None))
GENERATED = ("device", "dtype")  # arguments of torch.nn that a model as a whole has
VARIABLE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class Undeclared(ValueError):
    r"""A model has a part that only Python code can create."""


def declare(vae: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    r"""Describes a model by the classes that it is made of.

    Returns:
        JSON values, and the tensors among the arguments.

    Raises:
        Undeclared: A part is of a class of your own, or has been changed since it was created.
    """
    writer = _Writer(vae)
    declaration = writer.value(vae)
    again = create(declaration, writer.tensors, dtype_of(vae))
    if changed := _difference(vae, again):
        raise Undeclared(f"{changed} has been changed since it was created")
    return declaration, writer.tensors


def create(
    declaration: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> nn.Module:
    r"""Creates the model that :func:`declare` has described, with parameters of its own."""
    with apart(torch.device("cpu")), default_dtype(dtype):
        return _Reader(tensors).value(declaration).to(dtype)


def constants(vae: nn.Module) -> dict[str, Tensor]:
    r"""The buffers that a ``state_dict`` leaves out."""
    kept = vae.state_dict()
    return {name: value for name, value in vae.named_buffers() if name not in kept}


class _Writer:
    r"""Writes values as JSON; each object once, and a number where it comes again."""

    def __init__(self, root: nn.Module) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.numbers: dict[int, int] = {}
        self.made_inside = _made_inside(root)

    def value(self, value: Any) -> Any:
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, Tensor | np.ndarray):
            name = f"t{len(self.tensors)}"
            self.tensors[name] = torch.as_tensor(value)
            return {"tensor": name}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            return {"mapping": [[self.value(k), self.value(v)] for k, v in value.items()]}
        if isinstance(value, list | tuple | range):
            values = [self.value(part) for part in value]
            return values if isinstance(value, list) else {"tuple": values}
        if isinstance(value, type):
            return {"class": _name(value)}
        return self.object(value)

    def object(self, value: Any) -> dict[str, Any]:
        if id(value) in self.numbers:
            return {"again": self.numbers[id(value)]}
        if id(value) in self.made_inside:
            owner, path = self.made_inside[id(value)]
            return {"part": path, "of": self.object(owner)}
        name = _name(type(value))
        self.numbers[id(value)] = len(self.numbers)
        args, options = _arguments(value)
        entry = {
            "create": name,
            "arguments": [self.value(part) for part in args],
            "options": {key: self.value(part) for key, part in options.items()},
        }
        if isinstance(value, Factor) and value.parents is not None:
            entry["given"] = [*value.parents]
        return entry


class _Reader:
    r"""Creates what :class:`_Writer` has written."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors, self.objects = tensors, list[Any]()

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(part) for part in value]
        if not isinstance(value, dict):
            return value
        if "tensor" in value:
            return self.tensors[value["tensor"]].clone()
        if "mapping" in value:
            return {self.value(k): self.value(v) for k, v in value["mapping"]}
        if "tuple" in value:
            return tuple(self.value(part) for part in value["tuple"])
        if "class" in value:
            return _found(value["class"])
        if "again" in value:
            return self.objects[value["again"]]
        if "part" in value:
            return self.value(value["of"]).get_submodule(value["part"])
        return self.object(value)

    def object(self, value: Mapping[str, Any]) -> Any:
        number = len(self.objects)
        self.objects.append(None)
        args = [self.value(part) for part in value["arguments"]]
        options = {key: self.value(part) for key, part in value["options"].items()}
        created = self.objects[number] = _found(value["create"])(*args, **options)
        return created.given(*value["given"]) if "given" in value else created


def _name(cls: type) -> str:
    r"""The public name of a class that declarations may have."""
    top, *rest = cls.__module__.split(".")
    if top == "pyro_vae" and rest and rest[0] in ROOMS:
        name = f"{rest[0]}.{cls.__name__}"
        if getattr(import_module(f"pyro_vae.{rest[0]}"), cls.__name__, None) is cls:
            return name
    if cls.__module__.startswith("torch.nn.modules.") and getattr(nn, cls.__name__, None) is cls:
        return f"torch.nn.{cls.__name__}"
    raise Undeclared(f"{cls.__name__} is a class of your own")


def _found(name: str) -> Any:
    room, _, last = name.rpartition(".")
    if room in ROOMS or room == "torch.nn":
        found = getattr(
            nn if room == "torch.nn" else import_module(f"pyro_vae.{room}"), last, None
        )
        if isinstance(found, type) and _name(found) == name:
            return found
    raise ValueError(
        f"Expected a class of pyro_vae or of torch.nn in a declaration; got {name!r}."
    )


def _arguments(module: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    r"""The arguments of an object; those of a module of :mod:`torch.nn` are its attributes."""
    if isinstance(module, Remembers):
        if "arguments" not in vars(module):
            raise Undeclared(f"{type(module).__name__} was made by an earlier version")
        return module.arguments
    if isinstance(module, nn.Sequential):
        if [*module._modules] == [str(i) for i in range(len(module))]:
            return [*module], {}
        raise Undeclared("Sequential has names for its parts")
    if isinstance(module, nn.ModuleList):
        return [[*module]], {}
    if isinstance(module, nn.ModuleDict):
        return [dict(module)], {}
    options = {}
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in GENERATED or name.startswith("_") or parameter.kind in VARIABLE:
            continue
        if not hasattr(module, name):
            raise Undeclared(f"{type(module).__name__} does not keep its argument {name!r}")
        found = getattr(module, name)
        options[name] = found is not None if name == "bias" else found
    return [], options


def _made_inside(root: nn.Module) -> dict[int, tuple[Any, str]]:
    r"""The parts that objects have made by themselves, with their owner and name there."""
    found = {}
    for owner in root.modules():
        if isinstance(owner, Remembers) and "arguments" in vars(owner):
            given = {id(part) for part in _leaves(owner.arguments)}
            for name, part in owner.named_children():
                if isinstance(part, Remembers) and id(part) not in given:
                    found[id(part)] = (owner, name)
    return found


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _difference(vae: nn.Module, again: nn.Module) -> str:
    r"""The name of a part in which two models differ, besides the values of their tensors."""
    ours, theirs = dict(vae.named_modules()), dict(again.named_modules())
    for name, module in ours.items():
        other = theirs.pop(name, None)
        if other is None or kind(other) is not kind(module):
            return name or "the model"
        if _settings(module) != _settings(other):
            return name or "the model"
    return next(iter(theirs), "")


def _settings(module: Any) -> dict[str, Any]:
    r"""What a module has besides modules and what trains: numbers, words, shapes of tensors."""
    own = {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
    found = {k: v for k, v in own.items() if isinstance(v, (*PLAIN, torch.Size))}
    found |= {k: v for k, v in own.items() if isinstance(v, tuple) and all(map(_plain, v))}
    tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    shapes = {name: tuple(value.shape) for name, value in tensors}
    return {**{k: v for k, v in found.items() if k != "columns"}, "tensors": shapes}


def _plain(value: Any) -> bool:
    return isinstance(value, PLAIN)
