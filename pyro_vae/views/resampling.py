r"""Completions by sampling importance resampling."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import Split
from ..programs import density_of, guide_name, log_density, own_batches, rows_at_once, traces
from ..statistics import pareto_shape
from .completion import Completed, nothing_like

ELEMENTS_AT_ONCE = 4_000_000


class BlindGuide(ValueError):
    r"""The guide is one of whole data alone."""


class Particles(NamedTuple):
    r"""Draws of the guide for some data, with the missing elements by the model.

    Attributes:
        values: The values of all sites that are not observed, each of shape `(K, B, *event)`.
        whole: The data without holes, of shape `(K, B, *x_shape)`.
        log_weights: :math:`\log p(x_\text{there}, z) - \log q(z \mid x_\text{there})`, of shape
            `(K, B)`.
        others: Whether other sites than `x` are observed, too.
    """

    values: dict[str, Tensor]
    whole: Tensor
    log_weights: Tensor
    others: bool

    def pick(self, count: int) -> tuple[Tensor, Tensor]:
        r"""Chooses `count` of them by their weights, for each datum: indices of particles and
        data, which broadcast to `(count, B)`."""
        share = self.log_weights.softmax(0)
        chosen = torch.distributions.Categorical(probs=share.T).sample((count,))
        return chosen, torch.arange(share.shape[1], device=share.device)


def particles(
    program: Any, x: Tensor, known: dict[str, Any], count: int, guide: Any = None
) -> Particles:
    r"""Draws latent variables and missing elements of some data, with their weights.

    Arguments:
        program: A VAE, or a program.
        x: The data.
        known: Further inputs of both programs.
        count: The number of draws.
        guide: What latent variables are drawn by; by default the program's guide.

    Raises:
        BlindGuide: The guide does not know holes.
        ValueError: The posterior has no density, or no site is called `x`.
    """
    if density_of(program) == "none":
        raise ValueError(
            f"Expected a posterior with a density, which weighs completions; got "
            f"{guide_name(program)}, a point. Take method='nuts'."
        )
    q, p = traces(program.model, guide or program.guide, x, count, **known)
    if "x" not in p or not p["x"]["is_observed"]:
        raise ValueError(f"Expected a model that observes the site 'x'; got {', '.join(p)}.")
    scored = [s for n, s in p.items() if s["is_observed"] or n in q]
    log_w = (log_density(scored) - log_density(q.values())).expand(count, len(x))
    if bool(log_w.isnan().any()):
        raise BlindGuide(
            "Expected a guide of data with holes, such as one that sees where they are "
            f"(pv.nn.Observed); got NaN from {guide_name(program)}. Take method='gibbs', whose "
            "guide sees completed data alone."
        )
    drawn = p["x_missing"]["value"] if "x_missing" in p else p["x"]["fn"].sample()
    hidden = {n: s for n, s in p.items() if not s["is_observed"] and n != "x_missing"}
    values = {
        name: site["value"].expand(count, len(x), *site["fn"].event_shape)
        for name, site in hidden.items()
    }
    whole = torch.where(x.isnan(), drawn.expand(count, *x.shape), x)
    others = sum(site["is_observed"] for site in p.values()) > 1
    return Particles(values, whole, log_w, others)


def by_resampling(
    program: Any, split: Split, num_samples: int, num_particles: int, num_steps: int
) -> Iterator[Completed]:
    r"""Chooses completions among particles, by their weights."""
    rows = rows_at_once(split, num_particles, ELEMENTS_AT_ONCE)
    for x, known in own_batches(split, rows):
        found = particles(program, x, known, num_particles)
        share = found.log_weights.softmax(0)
        pick = found.pick(num_samples)
        ess = 1 / share.square().sum(0)
        yield Completed(
            found.whole[pick],
            torch.einsum("kb,kb...->b...", share, found.whole),
            ess,
            tail_of(found.log_weights),
            nothing_like(ess),
            nothing_like(ess),
            x.isnan(),
        )


def tail_of(log_weights: Tensor) -> Tensor:
    r"""The shape of the tail of weights, of shape `(B,)`."""
    count = len(log_weights)
    tail = min(count, 1 + min(count // 5, int(3 * count**0.5)))
    return pareto_shape(log_weights.double().topk(tail, dim=0).values)
