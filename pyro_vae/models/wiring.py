r"""Which factor is given what: sites before it, and conditions from outside."""

from typing import Any, NamedTuple

from torch import nn
from torch.distributions import Distribution

from ..base import Factor, Likelihood, Net, Posterior, Prior, Sites, factors_of

OPTIONS = (
    "batch_size", "cache", "given", "kept", "method", "seed", "skip_checks", "source", "what",
)  # fmt: skip
RESERVED = (*OPTIONS, "x_missing")
ROLES = {"prior": Prior, "likelihood": Likelihood, "posterior": Posterior}


class Wiring(NamedTuple):
    r"""How the factors of a VAE hang together.

    Attributes:
        latents: The latent sites, in the model's order.
        observed: The observed sites.
        conditions: What factors are given and no factor makes.
        drawn_under: Those of them that the model is given.
        ancestors: For each site of the model the latent sites that it is given, through nets too.
    """

    latents: tuple[str, ...]
    observed: tuple[str, ...]
    conditions: tuple[str, ...]
    drawn_under: tuple[str, ...]
    ancestors: dict[str, frozenset[str]]


def wire(prior: Factor | Sites, likelihood: Factor | Sites, posterior: Factor | Sites) -> Wiring:
    r"""Makes sure that factors are given what is there.

    Raises:
        ValueError: A factor is given what comes after it, a site is made twice, or the posterior
            lacks a latent site.
    """
    latents, observed = names_of(prior, "z"), names_of(likelihood, "x")
    _check_sites(latents, observed, names_of(posterior, "z"))
    parts = ((prior, "z"), (likelihood, "x"), (posterior, "z"))
    made = {site for part, name in parts for site, _ in factors_of(part, name)}
    conditions: dict[str, None] = {}
    ancestors: dict[str, frozenset[str]] = {}
    for part, name in parts[:2]:
        for site, factor in factors_of(part, name):
            if site in ancestors:
                raise ValueError(f"Expected every site once; got {site!r} twice.")
            _check_given(site, factor, {*ancestors}, made, conditions)
            parents = parents_of(factor, () if name == "z" else latents)
            above = [ancestors.get(p, frozenset()) for p in parents if p not in latents]
            ancestors[site] = frozenset(p for p in parents if p in latents).union(*above)
    drawn_under = tuple(name for name in conditions if name != "index")
    there = {"x"}
    for site, factor in factors_of(posterior, "z"):
        _check_given(site, factor, there, made, conditions)
        there.add(site)
    if wrong := [name for name in conditions if name in RESERVED or not name.isidentifier()]:
        raise ValueError(
            f"Expected names of conditions such as c; got {wrong[0]!r}, which is no name or an "
            "option of functions."
        )
    if completes(likelihood):
        given = parents_of(dict(factors_of(likelihood, "x"))["x"], ())
        if others := [name for name in given if name in observed]:
            raise ValueError(
                f"Expected x before the sites that are given it, holes and all; got it given "
                f"{', '.join(others)}."
            )
    named = tuple(name for name in conditions if name != "index")
    return Wiring(latents, observed, named, drawn_under, ancestors)


def completes(likelihood: Factor | Sites) -> bool:
    r"""Whether another observed site is given `x`, which may have holes."""
    parts = dict(factors_of(likelihood, "x"))
    others = [factor for name, factor in parts.items() if name != "x"]
    return parts["x"].missing and any("x" in parents_of(other, ()) for other in others)


def _check_sites(
    latents: tuple[str, ...], observed: tuple[str, ...], guided: tuple[str, ...]
) -> None:
    if "x" not in observed:
        raise ValueError(f"Expected a likelihood with the site x; got {', '.join(observed)}.")
    if not latents:
        raise ValueError("Expected a latent site in the prior; got nets alone.")
    if lacking := [name for name in latents if name not in guided]:
        raise ValueError(
            f"Expected a posterior with a factor for every latent site; got none for "
            f"{', '.join(lacking)}."
        )
    if strange := [name for name in guided if name not in latents]:
        raise ValueError(
            f"Expected a posterior of the latent sites {', '.join(latents)}; got "
            f"{', '.join(strange)}, too."
        )


def _check_given(
    site: str, factor: Any, there: set[str], made: set[str], conditions: dict[str, None]
) -> None:
    if isinstance(factor, Prior) and factor.parents:
        raise ValueError(
            f"Expected {type(factor).__name__} to be given nothing; got "
            f"{', '.join(factor.parents)}. A conditional prior is a family of posteriors, "
            "such as MeanFieldNormal."
        )
    for parent in parents_of(factor, ()):
        if parent in there:
            continue
        if parent in made:
            raise ValueError(
                f"Expected {site!r} to be given sites before it; got {parent!r}, which "
                f"{'is itself' if parent == site else 'is not made before it'}. Put the "
                "factors in the order of sampling."
            )
        conditions[parent] = None


def parents_of(factor: Any, default: tuple[str, ...]) -> tuple[str, ...]:
    parents = getattr(factor, "parents", None)
    return default if parents is None else parents


def names_of(part: nn.Module, name: str) -> tuple[str, ...]:
    r"""The names of the sites of a part, without those of nets."""
    return tuple(site for site, f in factors_of(part, name) if not isinstance(f, Net))


def check_roles(**parts: Any) -> None:
    r"""Refuses a part that is no module returning a distribution of its role."""
    for role, part in parts.items():
        if not isinstance(part, Sites):
            _check_role(role, part)


def _check_role(role: str, part: Any) -> None:
    r"""Refuses what is no module that returns a distribution of the wanted kind."""
    if isinstance(part, type):
        raise ValueError(
            f"Expected a {role}, made by calling its class; got the class {part.__name__}. Write "
            f"{part.__name__}(...)."
        )
    if isinstance(part, Distribution):
        raise ValueError(
            f"Expected a {role}: a module whose forward returns a distribution; got the "
            f"distribution {type(part).__name__} itself. Use one of pyro_vae.{role}s, or return "
            f"it from the forward of a class of your own ({role.title()} in pyro_vae.base)."
        )
    if role == "prior" and isinstance(part, Posterior) and part.parents is not None:
        return  # a conditional prior
    other = next((name for name, base in ROLES.items() if isinstance(part, base)), role)
    if other != role or not isinstance(part, nn.Module):
        kind = f"a {other}" if other != role else "no module"
        raise ValueError(
            f"Expected VAE(prior, likelihood, posterior); got {type(part).__name__}, {kind}, as "
            f"the {role}."
        )
