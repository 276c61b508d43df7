r"""The description of a family for recipes: its name, formula, support, advice and options.

``make registry`` writes it for every exported family to ``config/families.json``, which the
command line reads without importing torch.
"""

import inspect
import re
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from .counted import rule_of
from .distributions.support import describe_support

SUPPLIED = ["latent_dim", "encoder", "decoder", "event_dim", "x_shape", "posterior"]
SUPPLIED += ["training_rows", "num_data", "x_mean", "x_scale"]
r"""Arguments that are supplied when a model is built; all others are options."""

TABLES = ("parts", "views")
r"""Options that are tables of their own."""


def kind_of(cls: type) -> str:
    r"""The name of a family in recipes.

    Example:
        >>> from pyro_vae.posteriors import IAF, MeanFieldNormal
        >>> kind_of(MeanFieldNormal), kind_of(IAF)
        ('mean-field-normal', 'iaf')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()


def maker_of(cls: Any) -> Any:
    r"""The callable that builds a family from the options of a recipe: ``from_recipe`` if the
    class has one, else the class."""
    return getattr(cls, "from_recipe", cls)


def entry_of(cls: Any) -> dict[str, Any] | None:
    r"""Describes a family for recipes; returns None if its arguments cannot be written in a
    recipe.

    Arguments:
        cls: A class of priors, likelihoods or posteriors; a wrapper without a formula is for
            Python alone.

    Returns:
        JSON values: ``target``, ``formula``, ``support``, ``advice``, whether it has a
        ``network``, and ``options`` with their types, defaults and help.
    """
    options = {}
    help_by_name = _arguments(cls.__doc__ or "") | _arguments(maker_of(cls).__doc__ or "")
    parameters = inspect.signature(maker_of(cls)).parameters
    nested = (*TABLES, "likelihood") if cls.formula else ()
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if name in SUPPLIED or (name == "prior" and not required):
            continue
        kind = _type(parameter.annotation, name)
        if kind is None or (required and kind not in nested):
            return None
        options[name] = {"type": kind, "help": plain(help_by_name.get(name, ""))}
        if not required:
            options[name]["default"] = parameter.default
    return {
        "target": f"{cls.__module__}.{cls.__qualname__}",
        "formula": cls.formula,
        "support": cls.support_name or describe_support(cls.support),
        "advice": cls.advice,
        "network": bool({"encoder", "decoder"} & parameters.keys())
        or any(about["type"] == "likelihood" for about in options.values()),
        "options": options,
    }


def _type(annotation: Any, name: str) -> Any:
    r"""The type of an option as a JSON value, or None."""
    rule = rule_of(annotation)
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    parts = tuple(part for part in parts if part is not NoneType)
    if name in TABLES:
        return name
    if getattr(annotation, "__name__", "") == "Likelihood":  # of a wrapper
        return "likelihood"
    if rule == "positive":
        return "positive"
    if rule == "size" or parts == (int,):
        return "size"
    if parts in ((bool,), (float,), (str,)):
        return parts[0].__name__
    if get_origin(parts[0]) is Literal:
        return list(get_args(parts[0]))
    names = {Sequence[int]: "sizes", Sequence[float]: "floats"}
    return next((names[part] for part in parts if part in names), None)


def _arguments(docstring: str) -> dict[str, str]:
    r"""The entries of the "Arguments" section of a docstring."""
    _, _, section = inspect.cleandoc(docstring).partition("Arguments:\n")
    section = re.split(r"\n\S", section)[0]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \w)", "\n" + section):
        name, _, text = entry.strip().partition(": ")
        found[name] = " ".join(text.split())
    return found


PLAIN = [
    (r":math:`([^`]*)`", r"\1"),
    (r"``([^`]*)``", r"\1"),
    (r":\w+:`([^`]*)`", r"\1"),
    (r"`([^`]*)`", r"\1"),
    (r"\\(?:mathcal|mathrm|mathbb|text)\{([^}]*)\}", r"\1"),
    (r"\\sqrt\{([^}]*)\}", r"sqrt(\1)"),
    (r"\\ldots", "..."),
    (r"\\mid", "|"),
    (r"\\[,;!]", " "),
    (r"\\cdot", "*"),
    (r"\\([A-Za-z]+)", r"\1"),
]


def plain(text: str) -> str:
    r"""Removes the mark-up from a sentence of a docstring.

    Example:
        >>> plain(r"The rate :math:`\delta > 0`; `K` of ``mlp``.")
        'The rate delta > 0; K of mlp.'
    """
    for pattern, replacement in PLAIN:
        text = re.sub(pattern, replacement, text)
    return text
