r"""How good is a model on a data set? Its metrics, with units and errors."""

import os
import time
from math import log, prod
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..checks import take
from ..counted import counted
from ..data import Split
from ..deprecation import RenamedKeys, renamed_arguments
from ..programs import Unconstrained, as_program, family_of, sample_sites, undisturbed
from ..statistics import Mean
from .codes import code_use, codebook_of
from .collapse import rate_distortion
from .importance import LogMarginal, elbo, log_marginal
from .reliability import verdict


@renamed_arguments(kept="cache")
@counted
def evaluate(
    vae: Any,
    split: Split,
    num_samples: int = 500,
    *,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = None,
    skip_checks: bool = False,
    by_datum: dict[str, Any] | None = None,
    **known: Any,
) -> dict[str, float | int | str]:
    r"""Evaluates a VAE on a data set.

    Arguments:
        vae: The VAE.
        split: The data, in full: one image differs from another by some 30 nats, so a subset
            says little.
        num_samples: The number of importance samples per datum.
        seed: Seeds the samples.
        cache: A file that caches finished rows, as in :func:`pyro_vae.log_marginal`.
        skip_checks: Evaluates data outside of the likelihood's support, too; ``not_a_density``
            then says what is wrong with them.
        by_datum: Gets the metrics of each datum, as arrays of shape `(N,)`.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        Means over data in nats per datum. ``*_se`` is the standard deviation over data divided
        by :math:`\sqrt{N}`; ``*_mc_se`` is the Monte Carlo error of the mean. ``bits_per_dim`` is
        :math:`-\log p(x) / (D \log 2)`, present where `x` is discrete and nothing else is
        observed. ``verdict`` and ``reason`` say whether :math:`\log p(x)` can be trusted;
        ``evidence`` says what it is of, such as p(x | c). Of sequences, ``elbo_per_step`` and
        ``log_marginal_per_step`` are sums over data divided by ``num_steps``, all steps that are
        there. Of codes, the numbers of :func:`code_use`.
    """
    start = time.perf_counter()
    vae = as_program(vae)
    split = take(vae, split, known, skip_checks=skip_checks).freeze(seed)
    options: dict[str, Any] = {"seed": seed, "skip_checks": True}  # just checked
    bound = elbo(vae, split, min(10, num_samples), **options)
    estimate = log_marginal(vae, split, num_samples, cache=cache, **options)
    if by_datum is not None:
        columns = {"elbo": bound, "log_marginal": estimate.log_marginal, "ess": estimate.ess}
        columns |= {"lower": estimate.lower, "upper": estimate.upper}
        by_datum.update({name: values.cpu().numpy() for name, values in columns.items()})
    metrics = metrics_of(vae, split, bound, estimate, num_samples)
    rates = rate_distortion(vae, split, 1, seed=seed).by_site
    if len(rates) > 1:
        metrics |= {f"kl_{name}": float(rate) for name, rate in rates.items()}
    if codebook_of(vae) is not None:
        metrics |= code_use(vae, split, seed=seed).record()
    judged = verdict(estimate, can_anneal=_can_anneal(vae, split))
    metrics |= {"verdict": judged.colour, "reason": judged.reason}
    if split.violation:
        metrics["not_a_density"] = split.violation
    metrics["seconds"] = time.perf_counter() - start
    return RenamedKeys(metrics, light="verdict", trust="reason")


@counted
def metrics_of(
    vae: Any, split: Split, bound: Tensor, estimate: LogMarginal, num_samples: int
) -> dict[str, float | int | str]:
    r"""The metrics of :func:`evaluate`, from what was computed datum by datum."""
    metrics: dict[str, float | int | str] = {
        "num_data": len(split),
        **Mean.of(bound).record("elbo"),
        **Mean.of(estimate.log_marginal).record("log_marginal"),
        "log_marginal_mc_se": estimate.mean_se,
        "log_marginal_errors": estimate.errors(),
        "num_importance_samples": num_samples,
        "ess_median": float(estimate.ess.median()),
    }
    if is_discrete(vae, split) and set(split.known) <= {"index", *getattr(vae, "conditions", ())}:
        nats, elements = -float(estimate.log_marginal.sum()), seen_elements(split)
        metrics["bits_per_dim"] = nats / (elements * log(2))
    metrics["evidence"] = evidence_of(vae, split)
    return metrics | per_step(vae, split, bound, estimate.log_marginal)


def per_step(vae: Any, split: Split, bound: Tensor, log_marginal: Tensor) -> dict[str, float]:
    r"""ELBO and :math:`\log p(x)` of sequences in nats per step, the sum over data divided by the
    number of steps that are there; nothing of other data."""
    if not getattr(getattr(vae, "prior", None), "sequential", False):
        return {}
    steps = seen_steps(split).to(bound.device)
    found: dict[str, float] = {"num_steps": int(steps.sum())}
    for name, values in (("elbo", bound), ("log_marginal", log_marginal)):
        found |= Mean.ratio(values, steps, "nats per step").record(f"{name}_per_step")
    return found


def evidence_of(vae: Any, split: Split) -> str:
    r"""What the evidence is of: p(x), p(x | c) under a condition, p(x, y) where y is known."""
    conditions = [name for name in getattr(vae, "conditions", ()) if name in split.known]
    seen = ["x", *(n for n in split.known if n not in (*conditions, "index"))]
    given = f" | {', '.join(conditions)}" if conditions else ""
    return f"p({', '.join(seen)}{given})"


def is_discrete(vae: Any, split: Split) -> bool:
    r"""Whether `x` is, so that its density is a probability."""
    family = family_of(vae, "likelihood", "x")
    if family is not None:
        return bool(family.support.is_discrete)
    with undisturbed(vae, 0):
        x, known = split.batch(slice(0, 2))
        sites = sample_sites(poutine.trace(vae.model).get_trace(x, **known))
    seen = [site for site in sites.values() if site["is_observed"]]
    return bool(seen) and all(site["fn"].support.is_discrete for site in seen)


def seen_elements(split: Split) -> int:
    r"""How many elements of `x` are there: all, or all but the holes."""
    stored, holes = split.stored, split.holes
    if isinstance(stored, Tensor) and stored.is_floating_point():
        holes = stored.isnan() if holes is None else stored.isnan() | holes
    count = 0 if holes is None else int(holes.sum())
    return len(split) * prod(split.x_shape) - count


def seen_steps(split: Split) -> Tensor:
    r"""How many steps of each sequence have an element that is there, of shape `(N,)`."""
    return torch.cat([(~x.isnan()).flatten(2).any(-1).sum(-1) for x in split.chunks()])


def _can_anneal(vae: Any, split: Split) -> bool:
    r"""Whether there is a path along which to anneal: the latent variables are continuous."""
    try:
        with undisturbed(vae, 0):
            x, known = split.batch(slice(0, 2))
            Unconstrained(vae, x, **known)
    except ValueError:
        return False
    return True
