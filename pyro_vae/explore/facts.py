r"""What a page tells of data: where a model places them, and how well it knows them."""

from math import log
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from ..data import Split
from ..evaluate import rate_distortion
from ..evaluate.collapse import site_activities
from ..programs import batches, density_of, rows_at_once, sample_sites, weigh
from ..views import encode_sites

PARTICLES = 64
PRIOR_DRAWS = 2000
DRAWS = 1000  # of the aggregate posterior, whose densities are compared
AT_ONCE = 4_000_000  # numbers of pairs of draws and data


class Scores(NamedTuple):
    r"""Figures of each datum in nats, each of shape `(N,)`; and how many of the draws behind the
    first count as independent ones, in percent (:func:`pyro_vae.log_marginal` has more draws)."""

    log_p: Tensor
    elbo: Tensor
    kl: Tensor
    ess: Tensor


class Place(NamedTuple):
    r"""Where a model places data at one latent site.

    Attributes:
        loc: Means of q(z | x), of shape `(N, size)`.
        scale: Its standard deviations.
        activity: The variance of the means, for each feature.
        rate: The share of the KL term of each feature in nats, or None.
        prior: Draws from p(z), of shape `(M, size)`.
        levels: The quantiles of the log density of the aggregate posterior at draws of its own,
            each without its own datum, from 0 % to 100 %.
        shape: The shape of a value.
    """

    loc: Tensor
    scale: Tensor
    activity: Tensor
    rate: Tensor | None
    prior: Tensor
    levels: Tensor
    shape: torch.Size


def scores(vae: Any, split: Split) -> Scores | None:
    r"""Estimates log p(x), ELBO and KL term of each datum; None without a density of q."""
    if density_of(vae) == "none":
        return None
    found = []
    for x, known in batches(split, max(1, rows_at_once(split) // PARTICLES)):
        weights = weigh(vae.model, vae.guide, x, PARTICLES, **known)
        log_weights = weights.log_weights.double()
        log_p = log_weights.logsumexp(0) - log(PARTICLES)
        kl = (weights.posterior - weights.prior).mean(0)
        ess = (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()
        found.append(torch.stack([log_p, log_weights.mean(0), kl.double(), 100 * ess / PARTICLES]))
    return Scores(*torch.cat(found, 1))


def places(vae: Any, split: Split, seed: int) -> dict[str, Place]:
    r"""Returns where data lie at each latent site, in the model's order."""
    moments = encode_sites(vae, split, seed=seed)
    activities = site_activities(vae, split, seed=seed)
    try:
        rates = rate_distortion(vae, split, 1, seed=seed).by_feature
    except (ValueError, NotImplementedError):
        rates = None
    conditions = getattr(vae, "conditions", ())
    known = {n: v for n, v in split.known_at(slice(None)).items() if n in conditions}
    x, more = split.batch(slice(None))
    if known or getattr(vae.prior, "sequential", False):  # a draw for each datum, as long as it is
        drawn = poutine.trace(vae.model).get_trace(x, **known)
    else:
        drawn = poutine.trace(vae.model).get_trace(batch_size=PRIOR_DRAWS)
    imagined = sample_sites(drawn)
    own = sample_sites(poutine.trace(vae.guide).get_trace(x, **more))
    found = {}
    for name, part in moments.items():
        loc, scale = part.loc.flatten(1), part.scale.flatten(1)
        found[name] = Place(
            loc,
            scale,
            activities[name],
            rates if len(moments) == 1 and rates is not None else None,
            imagined[name]["value"].flatten(1),
            quantiles(loc, scale, own[name]["value"].flatten(1)),
            part.loc.shape[1:],
        )
    return found


def quantiles(loc: Tensor, scale: Tensor, draws: Tensor) -> Tensor:
    r"""The 101 quantiles of the log density of the aggregate posterior at draws of its own.

    The density is that of Normals with the moments of each q(z | x); each draw leaves its own
    datum out, as in :func:`pyro_vae.evaluate.information`.
    """
    rows = torch.linspace(0, len(loc) - 1, min(DRAWS, len(loc))).long()
    scale = scale.clamp(min=1e-6)
    parts = []
    for some in rows.split(max(1, AT_ONCE // loc.numel())):
        z = (draws[some, None] - loc) / scale
        each = -(z.square() / 2 + scale.log() + log(2 * torch.pi) / 2).sum(-1)
        each[torch.arange(len(some)), some] = -torch.inf
        parts.append(each.logsumexp(1) - log(max(1, len(loc) - 1)))
    values = torch.cat(parts).clamp(min=-1e30)
    return torch.quantile(values.double(), torch.linspace(0, 1, 101, dtype=torch.float64))


def axes(loc: Tensor) -> tuple[Tensor, Tensor, list[float]]:
    r"""The plane in which data spread most.

    Returns:
        Its centre of shape `(size,)`, its two directions of shape `(2, size)`, and the shares of
        the variance that they have. A plane is its own.
    """
    if loc.shape[1] <= 2:
        directions = torch.eye(2, dtype=loc.dtype)[:, : loc.shape[1]]
        return torch.zeros_like(loc[0]), directions, [1.0, 0.0]
    centred = loc - loc.mean(0)
    _, size, directions = torch.linalg.svd(centred.double(), full_matrices=False)
    top = torch.zeros(2, loc.shape[1], dtype=torch.float64)
    top[: min(2, len(directions))] = directions[:2]
    signs = top.gather(1, top.abs().argmax(1, keepdim=True)).sign()  # the same on any machine
    shares = size.square() / size.square().sum().clamp(min=1e-30)
    return loc.mean(0), (top * torch.where(signs == 0, 1, signs)).to(loc), shares[:2].tolist()
