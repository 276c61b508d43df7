r"""Priors, likelihoods, posteriors and relatives by name: settings derived from the classes.

``families.json`` is written by ``make registry`` from signatures and docstrings of the classes.
Another package registers its own families by entry points in the groups ``pyro_vae.prior``,
``pyro_vae.likelihood``, ``pyro_vae.posterior`` and ``pyro_vae.model``, each of which is a class.
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
View = Annotated[
    tuple[NonNegativeInt | str, ...],
    BeforeValidator(lambda v: (v,) if isinstance(v, int | str) else v),
    Field(min_length=1),
]
TYPES: dict[str, Any] = {
    "bool": bool,
    "float": float,
    "floats": Numbers,
    "positive": PositiveFloat,
    "size": PositiveInt,
    "sizes": Sizes,
    "str": str,
    "views": tuple[View, ...],
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
    for role in (*BASES, "model"):
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


def _kind(role: str, name: str, entry: dict[str, Any], inner: bool = False) -> type[Kind]:
    """The settings of one family; without a network inside of another one, which has it."""
    networks = entry["network"] and not inner and "parts" not in rules_of(entry)
    values: dict[str, Any] = {"kind": name}
    types: dict[str, Any] = {"kind": Literal[name]}
    for option, about in entry["options"].items():
        rule, default = about["type"], about.get("default", ...)
        of: Any = Literal[tuple(rule)] if isinstance(rule, list) else TYPES[rule]
        if rule in ("sizes", "floats"):
            default = tuple(default) if isinstance(default, list) else (default,)
        types[option] = of if default is not None else of | None
        least = 1 if rule in ("parts", "views") else None
        values[option] = Field(default, description=about["help"], min_length=least)
    metaclass: Any = type(Kind)
    made: type[Kind] = metaclass(
        entry["target"].rpartition(".")[2],
        (BASES[role] if networks or role == "prior" else Kind,),
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


def rules_of(entry: dict[str, Any]) -> set[str]:
    """The types of the options of a family, but for choices."""
    return {about["type"] for about in entry["options"].values() if isinstance(about["type"], str)}


def _choice(made: list[type[Kind]]) -> Any:
    return Annotated[Union[tuple(made)], Field(discriminator="kind")]  # noqa: UP007


ENTRIES = _entries()
_likelihoods = ENTRIES["likelihood"].items()
INNER = {
    name: _kind("likelihood", name, entry, inner=True)
    for name, entry in _likelihoods
    if not {"likelihood", "parts"} & rules_of(entry)
}
"""The settings of likelihoods inside of a wrapper, such as a hurdle."""
TYPES["likelihood"] = _choice([*INNER.values()])
_elementwise = {
    name: _kind("likelihood", name, entry)
    for name, entry in _likelihoods
    if "parts" not in rules_of(entry)
}
ElementLikelihood: Any = _choice([*_elementwise.values()])


class Part(Settings):
    """Columns of a table and their likelihood."""

    columns: tuple[NonNegativeInt | str, ...]
    """The columns, by name or by number from 0; every column belongs to exactly one part."""
    likelihood: ElementLikelihood
    """Their likelihood, with its own decoder."""


TYPES["parts"] = tuple[Part, ...]
_made = {"likelihood": _elementwise}
FAMILIES: dict[str, dict[str, type[Kind]]] = {
    role: {
        name: _made.get(role, {}).get(name) or _kind(role, name, entry)
        for name, entry in ENTRIES[role].items()
    }
    for role in BASES
}
"""The settings of every family, by role and name."""

RELATIVES = {name: _kind("model", name, entry) for name, entry in ENTRIES["model"].items()}
"""The settings of every relative of the VAE, by name."""

Model: Any = _choice([*RELATIVES.values()])
Prior: Any = _choice([*FAMILIES["prior"].values()])
Likelihood: Any = _choice([*FAMILIES["likelihood"].values()])
Posterior: Any = _choice([*FAMILIES["posterior"].values()])
ESTIMATORS: dict[str, str] = {n: about["advice"] for n, about in ENTRIES["estimator"].items()}
"""What each estimator maximizes, by name."""
