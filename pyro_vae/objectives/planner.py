r"""The planner: from a program's sites to a sound estimator, and one line of why."""

from collections.abc import Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from ..base import Sites
from ..distributions import describe_support, inside, name_of
from ..programs import (
    density_of,
    device_of,
    dtype_of,
    family_of,
    guide_name,
    is_vae,
    plainly,
    sample_sites,
    traces,
    wants_rows,
)
from ..randomness import apart
from .base import ESTIMATORS, Objective
from .kl import closed_sites, kl_by_feature, kl_divergence
from .needs import NEEDS, Laws
from .supports import check_supports

if TYPE_CHECKING:
    from ..config import Train

FEW_STATES = 64


class Plan(NamedTuple):
    r"""An estimator for a VAE, and why.

    Attributes:
        estimator: Its name in a recipe.
        objective: The objective itself.
        why: One line for people.
        exact: Whether a KL term is in closed form.
    """

    estimator: str
    objective: Objective
    why: str
    exact: bool = False


def plan(
    vae: Any,
    x: Tensor | None = None,
    estimator: str = "auto",
    *,
    kl_weight: float = 1.0,
    known: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> Plan:
    r"""Chooses a sound estimator for a VAE, or checks the one that is named.

    Arguments:
        vae: A VAE, or another module with a Pyro model and guide.
        x: Some data, of shape `(B, *x_shape)`; without them the model draws two.
        estimator: ``"auto"`` or a name such as ``"iwae"``.
        kl_weight: The weight of the KL term, any but 1 if it changes.
        known: Further inputs of the programs, one row per datum.
        options: Options of estimators by name, as their classes have them: ``num_particles``,
            ``kl``, ``free_bits``, ``free_bits_per``, ``capacity``, ``alpha``, ``baseline``,
            ``supervision``, ``tc_weight``, ``mi_weight``, ``dimension_weight``, ``tc_sampling``,
            ``mmd_weight``, ``mmd_width``. Those that an estimator has not must be at their
            defaults.

    Returns:
        The plan.

    Raises:
        ValueError: The choice is unsound; the sentence gives the reason and the remedy.
    """
    dtype = dtype_of(vae)
    rows = {n: v.to(dtype) if v.is_floating_point() else v for n, v in (known or {}).items()}
    laws = _laws(vae, x, rows)
    num_particles = options.get("num_particles", 1)
    if estimator == "auto":
        estimator = _choose(laws, num_particles)
    if estimator not in ESTIMATORS:
        raise ValueError(f"Expected an estimator ({', '.join(ESTIMATORS)}); got {estimator!r}.")
    kind = ESTIMATORS[estimator]
    for need in kind.needs:
        if shown := NEEDS[need](laws, estimator):
            raise ValueError(shown)
    _check_options(estimator, kind, options, kl_weight)

    own = signature(kind).parameters
    exact = "kl" in own and options.get("kl", "closed-form") == "closed-form"
    exact = exact and any(laws.closed[n] and _known(*pair) for n, pair in laws.pairs.items())
    taken = {n: v for n, v in options.items() if n in own}
    if "kl" in own:
        taken["kl"] = "closed-form" if exact else "sampled"
        _check_free_bits(laws, taken)
    shapes = {"x_shape": laws.x_shape, "latent_dim": laws.latent_dim}
    taken |= {n: size for n, size in shapes.items() if n in own}
    objective = kind(**taken).to(dtype)
    why = _why(estimator, objective, laws, exact, options)
    return Plan(estimator, objective, f"{estimator}: {why}.", exact)


def planned(settings: "Train") -> dict[str, Any]:
    r"""What the settings of a training say to :func:`plan`."""
    names = ["estimator", "num_particles", "kl", "free_bits", "free_bits_per", "capacity"]
    names += ["alpha", "baseline", "supervision", "tc_weight", "mi_weight", "dimension_weight"]
    names += ["tc_sampling", "mmd_weight", "mmd_width"]
    changes = settings.kl_warmup_epochs > 0
    return {
        **{name: getattr(settings, name) for name in names},
        "kl_weight": 0.0 if changes else settings.kl_weight,
    }


def _choose(laws: Laws, num_particles: int) -> str:
    if laws.reparameterized:
        return "reparameterized"
    few = 0 < laws.states() <= FEW_STATES and num_particles == 1
    return "enumeration" if few else "score-function"


def _check_options(
    estimator: str, kind: type[Objective], options: Mapping[str, Any], kl_weight: float
) -> None:
    r"""Refuses options that an estimator has not, or that its bound does not allow."""
    defaults = {
        n: p.default
        for cls in ESTIMATORS.values()
        for n, p in signature(cls).parameters.items()
        if n not in ("kl", "num_particles", "x_shape", "latent_dim", "hidden_features")
    }
    own = signature(kind).parameters
    given = [n for n, v in options.items() if n in defaults and n not in own and v != defaults[n]]
    if unknown := [n for n in options if n not in (*defaults, "kl", "num_particles")]:
        raise ValueError(f"Expected options of estimators; got {', '.join(unknown)}.")
    if kind.bound == "importance weighted" and kl_weight != 1:
        raise ValueError(
            f"Expected a KL weight of 1 for {estimator}, whose bound has no KL term; got "
            f"{kl_weight:g}. Set train.kl_weight 1 and "
            "train.kl_warmup_epochs 0, or use an estimator of the ELBO."
        )
    if {"free_bits", "capacity"} & {*given}:
        raise ValueError(
            "Expected the reparameterized ELBO for free bits or capacity, which modify its KL "
            f"term; got {estimator}."
        )
    if "supervision" in given:
        raise ValueError(
            "Expected reparameterized, enumeration or score-function for supervision, the weight "
            f"of log q(y | x) where y is known; got {estimator}."
        )
    if others := [n for n in given if n not in ("alpha", "baseline")]:
        having = [n for n, cls in ESTIMATORS.items() if others[0] in signature(cls).parameters]
        raise ValueError(
            f"Expected {' or '.join(having)} with {others[0]}; got {estimator}. Set "
            f"train.estimator, or leave {others[0]} out."
        )


def _check_free_bits(laws: Laws, taken: Mapping[str, Any]) -> None:
    if not taken.get("free_bits") or taken.get("free_bits_per") == "site":
        return
    for q, p in laws.pairs.values():
        if kl_by_feature(q, p, q.sample(), taken["kl"] == "closed-form") is None:
            raise ValueError(
                "Expected a prior and a posterior that factorize over latent features, as free "
                f"bits count by feature; got {laws.names}. Use capacity, or a diagonal pair."
            )


def _known(q: Any, p: Any) -> bool:
    return kl_divergence(q, p) is not None


def _why(
    estimator: str, objective: Objective, laws: Laws, exact: bool, options: Mapping[str, Any]
) -> str:
    r"""One line for people."""
    samples = objective.samples
    if estimator == "reparameterized":
        known = [n for n, pair in laws.pairs.items() if laws.closed[n] and _known(*pair)]
        if any(type(q).__name__ == "Quantized" for q, _ in laws.pairs.values()):
            why = (
                "a point among codes, whose rate is -log p(z); straight-through gradients are "
                "biased, and evaluation takes its soft twin"
            )
        elif laws.density == "none":
            why = (
                "a point has no density: this trains a plain autoencoder, log p(x, z) at "
                "z = f(x), not a bound; for log p(x) use AIS from the prior"
            )
        elif exact and len(known) < len(laws.pairs):
            rest = [n for n in laws.pairs if n not in known]
            why = (
                f"closed-form KL of {', '.join(known)}; that of {', '.join(rest)} and the "
                f"reconstruction by {samples} ({laws.names})"
            )
        elif exact:
            why = f"closed-form KL: {laws.names}; reconstruction by {samples}"
        elif options.get("kl", "closed-form") == "closed-form":
            why = f"no closed-form KL is known for {laws.names}: both terms by {samples}"
        else:
            why = f"KL and reconstruction by {samples}"
        if any(type(q).__name__ == "StraightThrough" for q, _ in laws.pairs.values()):
            why += "; straight-through gradients are biased"
        return why
    if estimator == "score-function":
        without = [name_of(q) for q, _ in laws.pairs.values() if not q.has_rsample]
        shown = ", ".join(without or [name_of(q) for q, _ in laws.pairs.values()])
        baseline = options.get("baseline", "average")
        return f"{shown} is not reparameterized: score function by {samples}, {baseline} baseline"
    if estimator == "enumeration":
        others = [n for n in laws.pairs if n != laws.listed]
        drawn = f"; {', '.join(others)} by a sample for each" if others else ": no sampling"
        what = "z" if not others else laws.listed
        return f"sum over all {laws.states()} values of {what}{drawn}"
    return objective.summary


def drawn_sites(
    vae: Any, x: Tensor | None, known: dict[str, Any]
) -> tuple[Tensor, dict[str, Any], dict[str, Any]]:
    r"""Some data, and the sites of guide and model for them; without data the model draws two.

    Raises:
        ValueError: Networks do not fit each other, or the data.
    """
    device = device_of(vae)
    with apart(device), torch.no_grad(), plainly():
        try:
            x = vae.model(**(known or {"batch_size": 2})) if x is None else x
            if wants_rows(vae):
                known.setdefault("index", torch.arange(len(x), device=device))
            if is_vae(vae) and not isinstance(vae.posterior, Sites):
                _check_sizes(vae, x, known)
            return x, *traces(vae.model, vae.guide, x, 1, **known)
        except (RuntimeError, TypeError, AttributeError, IndexError, KeyError) as error:
            raise ValueError(
                f"Expected networks that fit each other and x; got {type(error).__name__}: "
                f"{error}. pv.explain_error(vae, x) says which."
            ) from error


def _laws(vae: Any, x: Tensor | None, known: dict[str, Any]) -> Laws:
    r"""What model and guide draw from for some data."""
    x, q, p = drawn_sites(vae, x, known)
    latent = [n for n, site in p.items() if n in q and not site["is_observed"]]
    pairs = {n: (q[n]["fn"], p[n]["fn"]) for n in latent}
    for site, (here, there) in pairs.items():
        prior, posterior = (family_of(vae, role, site) for role in ("prior", "posterior"))
        if prior is not None and posterior is not None:
            check_supports(prior, posterior, there, getattr(here, "base", here))
        elif not inside(here.support, there.support):
            raise ValueError(
                f"Expected a guide of {site!r} inside the support of its prior, else the ELBO is "
                f"minus infinity; got {describe_support(here.support)} and "
                f"{describe_support(there.support)}."
            )
    rest = {n: law for n, (law, _) in pairs.items() if not law.has_rsample}
    path = vae.posterior.reparameterized if is_vae(vae) else not rest
    listed = next(iter(rest), None) if len(rest) == 1 else None
    if is_vae(vae) and not vae.posterior.enumerable:
        listed = None
    if listed is not None and not rest[listed].has_enumerate_support:
        listed = None
    return Laws(
        pairs,
        closed_sites(q, p),
        tuple(x.shape[1:]),
        path,
        density_of(vae),
        listed,
        guide_name(vae),
        tuple(n for n in known if n != "index"),
    )


def _check_sizes(vae: Any, x: Tensor, known: Mapping[str, Tensor]) -> None:
    r"""Refuses a prior and a posterior whose latent variables have other sizes."""
    with poutine.block():
        z = vae.guide(x, **known)
    there = sample_sites(poutine.trace(vae.model).get_trace(**known))[vae.latents[0]]["fn"]
    free = 1 if getattr(getattr(vae, "prior", None), "sequential", False) else 0  # the steps
    if z.shape[z.dim() - len(there.event_shape) + free :] != there.event_shape[free:]:
        raise ValueError(
            f"Expected z of one size in prior and posterior; got {tuple(there.event_shape)} and "
            f"{tuple(z.shape[1:])}. The encoder's number of outputs (two a feature for a "
            "mean-field Normal) decides the second."
        )
