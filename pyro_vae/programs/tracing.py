r"""What any pair of model and guide draws and scores: the sample sites of both."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from .paths import gate_samples

Sites = dict[str, Any]


def traces(
    model: Callable,
    guide: Callable,
    x: Tensor,
    num_particles: int,
    *,
    handler: Any = None,
    max_plate_nesting: int = 1,
    **kwargs: Any,
) -> tuple[Sites, Sites]:
    r"""Runs the guide inside a handler, replays the model, and returns the sample sites of each.

    Particles are in a plate to the left of all others.

    Raises:
        ValueError: Plates are nested deeper than `max_plate_nesting`, so that particles have no
            dimension of their own.
    """
    particles: Any = nullcontext()
    if num_particles > 1:
        particles = pyro.plate("particles", num_particles, dim=-1 - max_plate_nesting)
    try:
        with particles:
            with handler or nullcontext():
                q = poutine.trace(guide).get_trace(x, **kwargs)
            if isinstance(handler, gate_samples):
                handler.show(sample_sites(q))
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x, **kwargs)
    except ValueError as error:
        if num_particles > 1 and "collide" in str(error):
            raise too_deep(max_plate_nesting) from error
        raise
    return sample_sites(q), sample_sites(p)


def sample_sites(trace: poutine.Trace) -> Sites:
    r"""The sample sites of a trace, without those of subsampling."""
    nodes = prune_subsample_sites(trace).nodes
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def density(site: Any) -> Tensor:
    r"""The log density of a site under its mask, unscaled."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), 1.0, site["mask"])


def log_density(sites: Iterable[Any]) -> Tensor:
    r"""The log density of several sites together."""
    return torch.as_tensor(sum(density(site) for site in sites))


def taught(q: Sites) -> Tensor | None:
    r"""The log density of what is known of latent sites under the guide, summed over sites.

    Arguments:
        q: The sites of the guide.

    Returns:
        The sum of :math:`\log q(y \mid x)` in nats, 0 where nothing is known, under scales and
        masks, of the batch shape; None where the values of no site are known.
    """
    parts = [
        scale_and_mask(site["fn"].evidence(), site["scale"], site["mask"])
        for site in q.values()
        if hasattr(site["fn"], "evidence")
    ]
    return sum(parts[1:], parts[0]) if parts else None


def check_plates(sites: Iterable[Any]) -> None:
    r"""Refuses programs whose sites are not all in one plate of data."""
    plates = {frozenset((name, dim) for name, dim, _ in plates_of(site)) for site in sites}
    if len(plates) != 1 or [dim for _, dim in next(iter(plates))] != [-1]:
        got = " and ".join(sorted(str(sorted(name for name, _ in plate)) for plate in plates))
        raise ValueError(
            "Expected every site in one plate of data with dim=-1, as this estimator weighs "
            f"samples datum by datum; got the plates {got}. Use the ELBO."
        )


def check_gradients(q: Sites, p: Sites, pathwise: bool = True) -> None:
    r"""Refuses latent samples through which no gradient flows, where one has to.

    A latent variable that the guide lacks is drawn from its prior, whose parameters then want a
    path too.

    Raises:
        ValueError: A site is not reparameterized.
    """
    for name, site in (q if pathwise else {}).items():
        if not site["is_observed"] and not site["fn"].has_rsample:
            raise ValueError(
                f"Expected reparameterized latent sites; got {name!r}, a "
                f"{type(site['fn']).__name__}. Train it with the score function "
                "(objectives.ScoreFunction, or TraceGraph_ELBO)."
            )
    for name, site in p.items():
        if name not in q and not site["is_observed"] and not site["fn"].has_rsample:
            raise ValueError(
                f"Expected the guide to sample {name!r}, a {type(site['fn']).__name__}: drawn "
                "from the prior, it has no gradient. Add it to the guide."
            )


def plates_of(site: Any) -> set[tuple[str, int, int]]:
    r"""Name, dimension and size of each plate around a site, without that of the particles."""
    frames = [f for f in site["cond_indep_stack"] if f.vectorized and f.name != "particles"]
    return {(f.name, f.dim, f.size) for f in frames}


def equal(a: Any, b: Any) -> bool:
    r"""Whether two scales or masks, numbers or tensors, are the same."""
    if a is b:
        return True
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a is not None and b is not None and bool(torch.as_tensor(a == b).all())
    return bool(a == b)


def too_deep(max_plate_nesting: int) -> ValueError:
    return ValueError(
        f"Expected plates that are nested at most {max_plate_nesting} deep, to the left of which "
        "several particles go; got deeper ones. Set max_plate_nesting of the objective, or take "
        "one particle."
    )
