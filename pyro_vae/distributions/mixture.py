r"""Mixtures with a usable support, and a density that broadcasts."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
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


class DiagonalNormalMixture(dist.MixtureOfDiagNormals):
    r"""Creates a mixture of diagonal Normals with pathwise gradients, whose density broadcasts.

    Arguments:
        locs: The means, of shape `(*batch, K, L)`, L at least 2.
        coord_scale: The standard deviations, of the same shape.
        component_logits: The logits of the components, of shape `(*batch, K)`.
    """

    @property
    def mean(self) -> Tensor:
        return (self.probs[..., None] * self.locs).sum(-2)

    @property
    def variance(self) -> Tensor:
        spread = self.coord_scale.square() + (self.locs - self.mean[..., None, :]).square()
        return (self.probs[..., None] * spread).sum(-2)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        if len(sample_shape) == 0:
            return super().rsample()
        return self.expand(torch.Size(sample_shape) + self.batch_shape).rsample()

    def log_prob(self, value: Tensor) -> Tensor:
        components = dist.Normal(self.locs, self.coord_scale, validate_args=False).to_event(1)
        each = components.log_prob(value.unsqueeze(-2))
        return (each + self.component_logits.log_softmax(-1)).logsumexp(-1)
