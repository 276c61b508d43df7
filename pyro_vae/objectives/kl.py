r"""Kullback-Leibler divergences in closed form: PyTorch's, and those that it lacks."""

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ..distributions import Known
from ..programs import Sites, equal

WRAPPERS = (dist.MaskedDistribution, dist.ExpandedDistribution)
MOMENTS = (dist.MultivariateNormal, dist.LowRankMultivariateNormal)


def kl_divergence(q: Any, p: Any) -> Tensor | None:
    r"""Returns :math:`\mathrm{KL}(q \,\|\, p)` where a closed form is known, else nothing.

    PyTorch has no entry for full or low-rank covariances against diagonal ones, and Pyro then
    samples without a word. Here entropy, mean and variance of q are enough:

    .. math::
        \mathrm{KL}(q \,\|\, \mathcal{N}(\mu, \mathrm{diag}\,\sigma^2)) = -\mathrm{H}(q)
            - \log \mathcal{N}(\mathbb{E}_q z; \mu, \mathrm{diag}\,\sigma^2)
            + \sum_j \frac{\mathrm{Var}_q z_j}{2 \sigma_j^2}

    Where the value of a variable is known (:class:`pyro_vae.distributions.Known`), q is a point,
    and the term is :math:`-\log p(z)` there.

    Arguments:
        q: A distribution.
        p: Another, of the same ``event_shape``.

    Returns:
        The divergence in nats, of shape ``batch_shape``, or none.
    """
    batch_shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    q, p = (d if d.batch_shape == batch_shape else d.expand(batch_shape) for d in (q, p))
    q, p = _plain(q), _plain(p)  # expanded, as some of PyTorch's entries do not broadcast
    if isinstance(q, Known):  # a point counts its density as 1
        elsewhere = kl_divergence(q.base, p)
        return None if elsewhere is None else torch.where(q.there, -q.under(p), elsewhere)
    if isinstance(q, dist.MaskedDistribution) or isinstance(p, dist.MaskedDistribution):
        if type(q) is not type(p) or not equal(q._mask, p._mask):
            return None
        kl = kl_divergence(q.base_dist, p.base_dist)
        return None if kl is None else scale_and_mask(kl, 1.0, q._mask)
    if isinstance(q, MOMENTS) and isinstance(p, torch.distributions.Independent):
        normal = p.base_dist
        if isinstance(normal, torch.distributions.Normal) and len(p.event_shape) == 1:
            spread = (q.variance / (2 * normal.scale.square())).sum(-1)
            return (spread - q.entropy() - p.log_prob(q.mean)).expand(batch_shape)
    try:
        return torch.distributions.kl_divergence(q, p).expand(batch_shape)
    except NotImplementedError:
        return None


def closed_sites(q: Sites, p: Sites) -> dict[str, bool]:
    r"""Which latent sites may have a closed-form KL term.

    It is exact where all that the prior of a site is given was drawn before it by the guide: the
    term is an average over the site alone. What a prior is given a VAE says (``infer["given"]``);
    of another program it is every latent variable sampled before.

    Arguments:
        q: The sites of the guide, in its order.
        p: Those of the model, in its order.
    """
    order = [name for name, site in p.items() if name in q and not site["is_observed"]]
    drawn, exact = [*q], {}
    for i, name in enumerate(order):
        given = p[name]["infer"].get("given", order[:i])
        exact[name] = {*given} <= {*drawn[: drawn.index(name)]}
    return exact


def kl_by_feature(q: Any, p: Any, z: Tensor, exact: bool) -> Tensor | None:
    r"""Returns the KL term of each latent feature, of shape `(*batch, *features)`, or none.

    Arguments:
        q: A distribution whose features are independent; a number is one feature.
        p: Another.
        z: Samples of q, from which the term is estimated where it is not exact.
        exact: Whether a closed form is wanted.
    """
    q, p = _plain(q), _plain(p)
    if len(q.event_shape) or len(p.event_shape):
        if not all(isinstance(d, torch.distributions.Independent) for d in (q, p)):
            return None
        if q.reinterpreted_batch_ndims != p.reinterpreted_batch_ndims:
            return None
        q, p = q.base_dist, p.base_dist
    known = kl_divergence(q, p) if exact else None
    return q.log_prob(z) - p.log_prob(z) if known is None else known


def features_of(d: Any) -> Any:
    r"""Returns the distribution of single features, of shape `(*batch, latent_dim)`, or none where
    they are not numbers independent of each other."""
    d = _plain(d)
    alone = isinstance(d, torch.distributions.Independent) and len(d.event_shape) == 1
    return d.base_dist if alone and not d.base_dist.event_shape else None


def _plain(d: Any) -> Any:
    r"""The distribution inside Pyro's wrappers, but for masks."""
    while isinstance(d, dist.ExpandedDistribution):
        d = d.base_dist
    return d
