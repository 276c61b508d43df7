r"""Products of factors in a recipe: a table with a kind is a factor, nested tables a product."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args

from pydantic import Discriminator, Field, Tag

from .families import Likelihood, Posterior, Prior
from .kinds import Corrected, CorrectedMarkov, Kind, Markov, Net, SelfMasking

ROLES = {"prior": "z", "likelihood": "x", "posterior": "z"}
r"""The parts of a model, and the site of a single factor."""


def _with(choice: Any, *more: type[Kind]) -> Any:
    every = (*get_args(get_args(choice)[0]), *more)
    return Annotated[Union[every], Field(discriminator="kind")]  # noqa: UP007


def _conditional(value: Any) -> Literal["plain", "conditional"]:
    given = value.get("given") if isinstance(value, Mapping) else getattr(value, "given", None)
    return "conditional" if given else "plain"


def _one_or_many(value: Any) -> Literal["one", "sites"]:
    if isinstance(value, Kind) or not isinstance(value, Mapping) or "kind" in value:
        return "one"
    return (
        "sites" if value and all(isinstance(v, Mapping | Kind) for v in value.values()) else "one"
    )


def _part(site: Any) -> Any:
    one, many = Annotated[site, Tag("one")], Annotated[dict[str, site], Tag("sites")]
    return Annotated[Union[one, many], Discriminator(_one_or_many)]  # noqa: UP007


_PLAIN, _CONDITIONAL = _with(Prior, Markov), _with(Posterior, Net)
_PRIOR: Any = Annotated[
    Union[Annotated[_PLAIN, Tag("plain")], Annotated[_CONDITIONAL, Tag("conditional")]],  # noqa: UP007
    Discriminator(_conditional),
]
PriorPart: Any = _part(_PRIOR)
LikelihoodPart: Any = _part(_with(Likelihood, Net, SelfMasking))
PosteriorPart: Any = _part(_with(Posterior, Net, Corrected, CorrectedMarkov))
TAGS = ("one", "sites", "plain", "conditional")


def sites_of(part: Any, role: str) -> dict[str, Any]:
    r"""Returns the kinds of a part by the names of their sites."""
    return dict(part) if isinstance(part, Mapping) else {ROLES[role]: part}


def is_plain(recipe: Any) -> bool:
    r"""Whether a recipe declares one factor for each role, with the default dependencies."""
    parts = [getattr(recipe, role) for role in ROLES]
    return not any(
        isinstance(p, Mapping) or getattr(p, "given", None) or p.kind == "corrected" for p in parts
    )


def is_chain(recipe: Any) -> bool:
    r"""Whether a recipe declares a model of sequences."""
    return getattr(recipe.prior, "kind", None) == "markov"


def _check_chain(recipe: Any) -> None:
    r"""Checks that a chain has the posterior of chains, and depends on nothing else.

    Raises:
        ValueError: It does not.
    """
    chains = {"prior": "markov", "posterior": "corrected-markov"}
    found = {role: sites_of(getattr(recipe, role), role) for role in ROLES}
    used = [k for r, k in chains.items() if any(f.kind == k for f in found[r].values())]
    if not used:
        return
    whole = [getattr(getattr(recipe, role), "kind", "a product") for role in chains]
    if whole != [*chains.values()]:
        role = next(r for r, k in chains.items() if k == used[0])
        raise ValueError(
            f'{role}: expected prior.kind = "markov" with posterior.kind = "corrected-markov", '
            f"each by itself; got {' and '.join(whole)}"
        )
    for role in ROLES:
        part = getattr(recipe, role)
        if isinstance(part, Mapping) or getattr(part, "given", None):
            raise ValueError(
                f"{role}: expected one factor with its default dependencies beside a markov "
                "prior; got others. Build such a model in Python"
            )


def check_sites(recipe: Any) -> None:
    r"""Checks that factors depend on what exists, and that every latent site has a factor.

    Raises:
        ValueError: They do not; the message names the factor and what it may depend on.
    """
    _check_chain(recipe)
    data = [*recipe.data.known]
    parts = {role: sites_of(getattr(recipe, role), role) for role in ROLES}
    latent = [name for name, kind in parts["prior"].items() if kind.kind != "net"]
    if "x" not in parts["likelihood"]:
        raise ValueError(f"likelihood: expected a site x; got {', '.join(parts['likelihood'])}")
    defaults: dict[str, tuple[str, ...]] = {
        "prior": (), "likelihood": tuple(latent), "posterior": ("x",),
    }  # fmt: skip
    for role, sites in parts.items():
        there = [*data] + (["x"] if role == "posterior" else [])
        there += [*parts["prior"]] if role == "likelihood" else []
        for name, kind in sites.items():
            many = isinstance(getattr(recipe, role), Mapping)
            where = f"{role}.{name}" if many else role
            for parent in getattr(kind, "given", None) or defaults[role]:
                if parent not in there:
                    raise ValueError(
                        f"{where}.given: expected earlier sites or data "
                        f"({', '.join(dict.fromkeys(there)) or 'none'}); got {parent!r}"
                    )
            if kind.kind == "self-masking":
                _check_masking(where, name, kind, recipe)
            if kind.kind == "corrected":
                _check_corrected(where, kind, parts["prior"].get(name))
            there.append(name)
    teaches = {
        "supervision": recipe.train.supervision,
        "label_visits": recipe.train.label_visits - 1,
    }
    used = [name for name, value in teaches.items() if value]
    if used and not [name for name in latent if name in data]:
        raise ValueError(
            f"train.{used[0]}: expected a latent site that data.known names "
            f"({', '.join(latent)}); got {', '.join(data) or 'none'}"
        )
    guided = [name for name, kind in parts["posterior"].items() if kind.kind != "net"]
    if lacking := [name for name in latent if name not in guided]:
        raise ValueError(
            f"posterior: expected a factor for every latent site; {', '.join(lacking)} has none"
        )
    if strange := [name for name in guided if name not in latent]:
        raise ValueError(
            f"posterior: expected factors of the latent sites {', '.join(latent)}; also got "
            f"{', '.join(strange)}"
        )


def allows_holes(kind: Any, data: Any) -> bool:
    r"""Whether elements of what a likelihood is of may be missing."""
    return (
        kind.kind == "product" or getattr(kind, "missing", "") == "at-random" or bool(data.hidden)
    )


def _check_masking(where: str, name: str, kind: Any, recipe: Any) -> None:
    r"""Checks that what says which elements of x are missing is given x, which may have holes."""
    if name == "x" or tuple(kind.given or ()) != ("x",):
        raise ValueError(
            f'{where}: expected a site of its own, such as likelihood.m, with given = ["x"]; got '
            f"{name} given {', '.join(kind.given or ('nothing',))}"
        )
    if not allows_holes(sites_of(recipe.likelihood, "likelihood")["x"], recipe.data):
        raise ValueError(
            f'{where}: expected likelihood.x.missing = "at-random" beside it; got "auto"'
        )
    if recipe.data.hidden and recipe.data.hidden.when == "visit":
        raise ValueError(
            f'{where}: expected holes that stay where they are; got data.holes.when = "visit"'
        )


def _check_corrected(where: str, kind: Any, prior: Any) -> None:
    r"""Checks that a corrected prior is given what it corrects it by, and what the prior is."""
    above = tuple(getattr(prior, "given", None) or ())
    given = tuple(kind.given or ("x",))
    if prior is None or given[1:] != above:
        wanted = ", ".join(("x", *above))
        raise ValueError(
            f"{where}.given: expected x or a net, and then what the prior of this site is given, "
            f"as in {wanted}; got {', '.join(given)}"
        )
