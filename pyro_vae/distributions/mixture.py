r"""Mixtures with a usable support, and a density that broadcasts."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint


class Mixture(dist.MixtureSameFamily):
    r"""Creates the mixture :math:`\sum_k \pi_k \, p_k(z)`, supported where its components are.

    PyTorch's own mixture has a support without a bijection to unconstrained space, from which
    :class:`pyro.infer.NUTS` cannot start.

    Arguments:
        mixture_distribution: A categorical over the `K` components, ``batch_shape`` `batch`.
        component_distribution: The components, ``batch_shape`` `(*batch, K)`.

    Example:
        >>> import torch
        >>> components = dist.Normal(torch.zeros(4, 2), 1.0).to_event(1)
        >>> Mixture(dist.Categorical(logits=torch.zeros(4)), components).support
        IndependentConstraint(Real(), 1)
    """

    @property
    def support(self) -> Constraint:
        return self.component_distribution.support


class DiagonalNormalMixture(dist.TorchDistribution):
    r"""Creates a mixture of `K` Normals with diagonal covariance, whose samples have gradients.

    .. math:: \sum_k \pi_k \, \mathcal{N}(z; \mu_k, \mathrm{diag}\,\sigma_k^2)

    Which component a sample comes from has no gradient, but the sample itself has one: the
    conditional distribution functions

    .. math:: F_l(z_{\leq l}) = \sum_k w_{kl} \, \Phi((z_l - \mu_{kl}) / \sigma_{kl}),
        \quad w_{kl} \propto \pi_k \prod_{j < l} \mathcal{N}(z_j; \mu_{kj}, \sigma_{kj}^2)

    of a sample are uniform whatever the parameters, so that
    :math:`\nabla_\theta z = -(\partial F / \partial z)^{-1} \nabla_\theta F`, with a triangular
    matrix. On average this is right for weights, means and scales. Weight moves from one component
    to another by samples between them: where components hardly overlap such samples are rare, and
    the gradient of the weights becomes as noisy.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018), Sec. 4.1 and 4.3
        | https://arxiv.org/abs/1805.08498
        | Stochastic Backpropagation through Mixture Density Distributions (Graves, 2016)
        | https://arxiv.org/abs/1607.05690

    Arguments:
        locs: The means, of shape `(*batch, K, L)`.
        coord_scale: The standard deviations, of the same shape.
        component_logits: The logits of the components, of shape `(*batch, K)`.
    """

    arg_constraints = {
        "locs": constraints.independent(constraints.real, 2),
        "coord_scale": constraints.independent(constraints.positive, 2),
        "component_logits": constraints.real_vector,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, locs: Tensor, coord_scale: Tensor, component_logits: Tensor) -> None:
        self.locs, self.coord_scale = locs, coord_scale
        self.component_logits = component_logits
        super().__init__(component_logits.shape[:-1], locs.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "DiagonalNormalMixture":
        batch = torch.Size(batch_shape)
        return DiagonalNormalMixture(
            self.locs.expand(batch + self.locs.shape[-2:]),
            self.coord_scale.expand(batch + self.locs.shape[-2:]),
            self.component_logits.expand(batch + self.component_logits.shape[-1:]),
        )

    @property
    def mean(self) -> Tensor:
        return (self._weights * self.locs).sum(-2)

    @property
    def variance(self) -> Tensor:
        spread = self.coord_scale.square() + (self.locs - self.mean[..., None, :]).square()
        return (self._weights * spread).sum(-2)

    @property
    def _weights(self) -> Tensor:
        return self.component_logits.softmax(-1)[..., None]

    def log_prob(self, value: Tensor) -> Tensor:
        each = self._each(value, self.locs, self.coord_scale).sum(-1)
        return (each + self.component_logits.log_softmax(-1)).logsumexp(-1)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            components = dist.Categorical(logits=self.component_logits, validate_args=False)
            place = components.sample(torch.Size(sample_shape))[..., None, None]
            loc, scale = (
                t.expand(*shape[:-1], *t.shape[-2:]).gather(
                    -2, place.expand(*shape[:-1], 1, shape[-1])
                )
                for t in (self.locs, self.coord_scale)
            )
            z = loc[..., 0, :] + scale[..., 0, :] * torch.randn_like(loc[..., 0, :])
        parameters = (self.locs, self.coord_scale, self.component_logits)
        if not (torch.is_grad_enabled() and any(p.requires_grad for p in parameters)):
            return z
        return z - self._moves(z.double()).to(z.dtype)

    def _moves(self, z: Tensor) -> Tensor:
        r"""Zero, whose gradient is minus that of a sample; in double precision, for the tails."""
        locs, scales, logits = (
            t.double() for t in (self.locs, self.coord_scale, self.component_logits)
        )
        each = self._each(z, locs, scales)  # (*batch, K, L)
        before = each.cumsum(-1) - each + logits[..., None]
        weights = before.softmax(-2)
        below = torch.special.ndtr((z[..., None, :] - locs) / scales)
        place = (weights * below).sum(-2)  # F, of shape (*batch, L)
        with torch.no_grad():
            slope = (each + before.log_softmax(-2)).logsumexp(-2)  # log dF_l / dz_l
            share = weights * (below - place[..., None, :])
            pull = -(z[..., None, :] - locs) / scales.square()
            jacobian = (share * (-slope[..., None, :]).exp()).mT @ pull
            rows = jacobian.tril(-1)
        moved = (place - place.detach()) * (-slope).exp()
        return torch.linalg.solve_triangular(
            rows, moved[..., None], upper=False, unitriangular=True
        )[..., 0]

    @staticmethod
    def _each(value: Tensor, locs: Tensor, scales: Tensor) -> Tensor:
        r"""The log density of each element under each component, of shape `(*batch, K, L)`."""
        return dist.Normal(locs, scales, validate_args=False).log_prob(value.unsqueeze(-2))
