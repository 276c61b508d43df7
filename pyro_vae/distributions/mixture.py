r"""Mixtures with a usable support."""

import pyro.distributions as dist
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
