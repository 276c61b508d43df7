r"""The KL term on average over data, in three parts."""

from math import log
from typing import NamedTuple

import torch
from pyro.distributions import Distribution
from torch import Tensor

from .kl import features_of

CORRELATION = "KL(q(z) || prod_j q(z_j))"
CORRELATION_LATEX = r"\mathrm{KL}(q(z) \,\|\, \textstyle\prod_j q(z_j))"


class KLParts(NamedTuple):
    r"""The KL term on average over data, in three parts.

    .. math::
        \mathbb{E}_x \mathrm{KL}(q(z \mid x) \,\|\, p(z)) = \underbrace{I_q(x; z)}_\text{
            index-code mutual information}
            + \underbrace{\mathrm{KL}(q(z) \,\|\, \prod_j q(z_j))}_\text{total
            correlation}
            + \underbrace{\sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))}_\text{dimension-wise KL}

    where :math:`q(z) = \mathbb{E}_x q(z \mid x)` is the aggregate posterior and
    :math:`p(z) = \prod_j p(z_j)`.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), Eq. 2
        | https://arxiv.org/abs/1802.04942

    Attributes:
        mutual_information: How much `z` tells which datum it is from, in nats per datum.
        total_correlation: How far latent features are from independent, in nats per datum.
        dimension_kl: How far each of them is from its prior, in nats per datum, summed.
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_kl: Tensor


def kl_parts(q: Distribution, p: Distribution, z: Tensor, log_weights: Tensor) -> KLParts:
    r"""Estimates the three parts, sample by sample, in nats; they sum to
    :math:`\log q(z \mid x) - \log p(z)`.

    Arguments:
        q: :math:`q(z \mid x)` of `B` data, whose features are independent.
        p: The prior.
        z: A sample of each, of shape `(*K, B, latent_dim)`.
        log_weights: How much each datum counts in :math:`q(z)` at the sample of each, the
            logarithms, of shape `(B, B)`.

    Returns:
        The parts, each of shape `(*K, B)`.
    """
    joint, marginals = aggregate(q, z, log_weights)
    return KLParts(q.log_prob(z) - joint, joint - marginals, marginals - p.log_prob(z))


def aggregate(q: Distribution, z: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns :math:`\log q(z)` and :math:`\sum_j \log q(z_j)` of a mixture over data.

    Arguments:
        q: The parts of the mixture, of `B` data, whose features are independent.
        z: Values, of shape `(*K, S, latent_dim)`.
        log_weights: The logarithms of the weights of the parts at each value, of shape `(S, B)`.

    Returns:
        Both, of shape `(*K, S)`.
    """
    features = features_of(q)
    assert features is not None  # asked before
    z = z.movedim(-2, 0).unsqueeze(-2)  # (S, *K, 1, latent_dim)
    weights = log_weights if z.dim() == 3 else log_weights[:, None]
    pairs = features.log_prob(z)  # (S, *K, B, latent_dim)
    joint = (pairs.sum(-1) + weights).logsumexp(-1)
    marginals = (pairs + weights[..., None]).logsumexp(-2).sum(-1)
    return joint.movedim(0, -1), marginals.movedim(0, -1)


def stratified(batch_size: int, num_data: int, like: Tensor) -> Tensor:
    r"""The log weights of a batch by minibatch stratified sampling, of shape `(B, B)`.

    At a sample of a datum of the batch,

    .. math::
        q(z) \approx \frac{1}{N} q(z \mid x_i)
            + \frac{N - 1}{N} \frac{1}{B - 1} \sum_{j \neq i} q(z \mid x_j)

    which has no bias: the other data are an even sample of the other :math:`N - 1`. It is the
    mean of the estimate of Chen et al. over which datum they take last. Its logarithm is biased
    low by Jensen's inequality, unless the batch is all data: then it is exact.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), App. C
    """
    if batch_size == 1:
        return like.new_zeros(1, 1)
    own, other = -log(num_data), log(num_data - 1) - log(num_data) - log(batch_size - 1)
    eye = torch.eye(batch_size, dtype=like.dtype, device=like.device)
    return other + (own - other) * eye


def weighted(batch_size: int, num_data: int, like: Tensor) -> Tensor:
    r"""The log weights of a batch by minibatch weighted sampling, :math:`-\log N B` each.

    They sum to :math:`1 / N`: :math:`\log q(z)` is low by :math:`\log B`, where a datum's own part
    is nearly all of it, to :math:`\log N`. The gradient does not see a constant.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), App. C
    """
    return like.new_full((batch_size, batch_size), -log(num_data) - log(batch_size))
