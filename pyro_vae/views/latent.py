r"""Moments of latent variables given data."""

from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from ..checks import Data, opened
from ..programs import own_batches, sample_sites
from ..ranks import here

ROWS_AT_ONCE = 1000
NUM_SAMPLES = 256
NUM_PATHS = 16


class Encoding(NamedTuple):
    r"""Moments of :math:`q(z \mid x)`, each of shape `(B, latent_dim)`."""

    loc: Tensor
    scale: Tensor


def encode(vae: Any, x: Data, *, seed: int = 0, **known: Any) -> Encoding:
    r"""Returns mean and standard deviation of :math:`q(z \mid x)` for each datum.

    Where they have no closed form, as in flows, they are those of 256 samples. Several latent
    sites are joined in the order of the model, each as a vector (:func:`encode_sites` has them
    one by one).

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        seed: Seeds those samples, and the bits of data that are binarized at every visit.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The moments ``loc`` and ``scale``, each of shape `(B, latent_dim)`.
    """
    sites = encode_sites(vae, x, seed=seed, **known)
    if len(sites) == 1:
        return next(iter(sites.values()))
    locs, scales = zip(*((part.loc.flatten(1), part.scale.flatten(1)) for part in sites.values()))
    return Encoding(torch.cat(locs, -1), torch.cat(scales, -1))


def encode_sites(vae: Any, x: Data, *, seed: int = 0, **known: Any) -> dict[str, Encoding]:
    r"""Returns mean and standard deviation of each latent site given :math:`x`.

    A site that the guide draws given another one has the moments of a mixture, by the law of
    total variance over 16 draws.

    Arguments:
        vae: As in :func:`encode`, as the arguments that follow.

    Returns:
        For each latent site, in the model's order, the moments of shape `(B, *z_shape)`.
    """
    found = drawn_moments(vae, x, seed, known)
    return {name: Encoding(part.loc, part.scale) for name, part in found.items()}


class Moments(NamedTuple):
    r"""Moments of a site, and the variance of ``loc`` that is of the draws before it."""

    loc: Tensor
    scale: Tensor
    noise: Tensor


def drawn_moments(vae: Any, x: Data, seed: int, known: dict[str, Any]) -> dict[str, Moments]:
    r"""Moments of each latent site, and what draws of others add to them."""
    parts: dict[str, list[Moments]] = {}
    with opened(vae, x, known, seed) as (program, split):
        own = (_moments(program, *batch) for batch in own_batches(split, ROWS_AT_ONCE))
        for sites in here().in_order(own, split.device):
            for name, found in sites.items():
                parts.setdefault(name, []).append(found)
    order = [n for n in getattr(program, "latents", parts) if n in parts]
    order += [n for n in parts if n not in order]
    return {n: Moments(*(torch.cat(field) for field in zip(*parts[n]))) for n in order}


def _moments(vae: Any, x: Tensor, known: dict[str, Any]) -> dict[str, Moments]:
    r"""Moments of the sites of a guide for some data."""
    sites = sample_sites(poutine.trace(vae.guide).get_trace(x, **known))
    sites = {n: s for n, s in sites.items() if not s["is_observed"] and n != "x_missing"}
    if len(sites) == 1:
        ((name, site),) = sites.items()
        return {name: _total([_of_rows(site["fn"], len(x))])}
    first = next(iter(sites), None)  # a program without latent variables has none
    drawn: dict[str, list[Encoding]] = {name: [] for name in sites}
    for path in range(NUM_PATHS):
        if path:
            sites = sample_sites(poutine.trace(vae.guide).get_trace(x, **known))
        for name in drawn:
            if name != first or not path:  # given x alone, it is the same each time
                drawn[name].append(_of_rows(sites[name]["fn"], len(x)))
    return {name: _total(found) for name, found in drawn.items()}


def _total(parts: list[Encoding]) -> Moments:
    r"""The moments of an even mixture, from draws of its parts."""
    if len(parts) == 1:
        return Moments(*parts[0], torch.zeros_like(parts[0].loc))
    locs, scales = (torch.stack(field) for field in zip(*parts))
    between = locs.var(0)
    scale = (scales.square().mean(0) + between).sqrt()
    return Moments(locs.mean(0), scale, between / len(parts))


def _of_rows(law: Any, count: int) -> Encoding:
    loc, scale = moments(law)
    shape = (count, *law.event_shape)
    return Encoding(loc.expand(shape), scale.expand(shape))


def moments(q: Any) -> tuple[Tensor, Tensor]:
    r"""Mean and standard deviation of a distribution, from samples where it has none."""
    try:
        return q.mean, q.stddev
    except NotImplementedError:
        z = q.sample((NUM_SAMPLES,))
        return z.mean(0), z.std(0)
