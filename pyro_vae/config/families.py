r"""Priors, likelihoods and posteriors by name: settings derived from the classes.

``families.json`` is written by ``make registry`` from signatures and docstrings of the classes.
Another package registers its own families by entry points in the groups ``pyro_vae.prior``,
``pyro_vae.likelihood`` and ``pyro_vae.posterior``, each of which is a class.
"""

import json
from importlib import resources
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, Union

from pydantic import BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from .kinds import Kind, LikelihoodKind, PosteriorKind, PriorKind, Settings, Sizes

Numbers = Annotated[
    tuple[float, ...], BeforeValidator(lambda v: (v,) if isinstance(v, int | float) else v)
]
TYPES: dict[str, Any] = {
    "bool": bool,
    "float": float,
    "floats": Numbers,
    "positive": PositiveFloat,
    "size": PositiveInt,
    "sizes": Sizes,
    "str": str,
}
BASES: dict[str, type[Kind]] = {
    "prior": PriorKind,
    "likelihood": LikelihoodKind,
    "posterior": PosteriorKind,
}


def _entries() -> dict[str, dict[str, Any]]:
    """Descriptions of families by role and name: ours, then those of other packages.

    Raises:
        ValueError: A package registers a name in use, or a class that recipes cannot build.
    """
    text = resources.files("pyro_vae").joinpath("config/families.json").read_text("utf-8")
    found: dict[str, dict[str, Any]] = json.loads(text)
    for role in BASES:
        for point in entry_points(group=f"pyro_vae.{role}"):
            entry = None if point.name in found[role] else point.load().entry()
            if entry is None:
                raise ValueError(
                    f"Expected a new name and a family whose options have defaults that a recipe "
                    f"can hold; got {point.name!r} from the package that registers {point.value} "
                    f"as pyro_vae.{role}."
                )
            found[role][point.name] = entry
    return found


def _kind(role: str, name: str, entry: dict[str, Any], parts: Any = None) -> type[Kind]:
    """The settings of one family."""
    values: dict[str, Any] = {"kind": name}
    types: dict[str, Any] = {"kind": Literal[name]}
    for option, about in entry["options"].items():
        rule, default = about["type"], about.get("default", ...)
        of: Any = Literal[tuple(rule)] if isinstance(rule, list) else TYPES.get(rule, parts)
        if rule in ("sizes", "floats"):
            default = tuple(default) if isinstance(default, list) else (default,)
        types[option] = of if default is not None else of | None
        least = 1 if rule == "parts" else None
        values[option] = Field(default, description=about["help"], min_length=least)
    metaclass: Any = type(Kind)
    made: type[Kind] = metaclass(
        entry["target"].rpartition(".")[2],
        (BASES[role] if (entry["network"] and parts is None) or role == "prior" else Kind,),
        {
            "__module__": __name__,
            "__doc__": f"{entry['formula']}.",
            "__annotations__": types,
            "model_config": ConfigDict(use_attribute_docstrings=False),
            **{name: entry[name] for name in ("target", "support", "advice")},
            **values,
        },
    )
    return made


def _choice(made: list[type[Kind]]) -> Any:
    return Annotated[Union[tuple(made)], Field(discriminator="kind")]  # noqa: UP007


ENTRIES = _entries()
_simple = {
    role: {
        name: _kind(role, name, entry)
        for name, entry in ENTRIES[role].items()
        if not any(about["type"] == "parts" for about in entry["options"].values())
    }
    for role in BASES
}
ElementLikelihood: Any = _choice([*_simple["likelihood"].values()])


class Part(Settings):
    """Columns of a table and their likelihood."""

    columns: tuple[NonNegativeInt | str, ...]
    """The columns, by name or by number from 0; every column belongs to exactly one part."""
    likelihood: ElementLikelihood
    """Their likelihood, with its own decoder."""


FAMILIES: dict[str, dict[str, type[Kind]]] = {
    role: {
        name: _simple[role].get(name) or _kind(role, name, entry, tuple[Part, ...])
        for name, entry in ENTRIES[role].items()
    }
    for role in BASES
}
"""The settings of every family, by role and name."""

Prior: Any = _choice([*FAMILIES["prior"].values()])
Likelihood: Any = _choice([*FAMILIES["likelihood"].values()])
Posterior: Any = _choice([*FAMILIES["posterior"].values()])
ESTIMATORS: dict[str, str] = {n: about["advice"] for n, about in ENTRIES["estimator"].items()}
"""What each estimator maximizes, by name."""
