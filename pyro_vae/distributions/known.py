r"""A variable that is known for some rows."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

NEVER = -1e30  # log 0, finite: a weight of 0 multiplies it


class Known(dist.TorchDistribution):
    r"""Creates the distribution that is a point where the value is known, and `base` elsewhere.

    A point counts its density as 1: with it in the guide, the bound is one on
    :math:`\log p(x, y_\text{known})`.

    References:
        | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), Eq. 6 and 7
        | https://arxiv.org/abs/1406.5298

    Arguments:
        base: A distribution with ``batch_shape`` `(*batch, B)`.
        value: The values, of shape `(B, *event)`; a row with a NaN is not known.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base: Any, value: Tensor) -> None:
        self.base, self.value = base, value
        unknown = value.isnan()
        self.there = ~(
            unknown.flatten(-len(base.event_shape)).any(-1) if base.event_shape else unknown
        )
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Known":
        return Known(self.base.expand(torch.Size(batch_shape)), self.value)

    @property
    def has_rsample(self) -> bool:
        return self.base.has_rsample

    @property
    def support(self) -> Any:
        return self.base.support

    @property
    def has_enumerate_support(self) -> bool:
        return self.base.has_enumerate_support

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self.base.enumerate_support(expand)

    @property
    def mean(self) -> Tensor:
        return self._pick(self.value, self.base.mean)

    @property
    def variance(self) -> Tensor:
        return self._pick(torch.zeros_like(self.value), self.base.variance)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self._pick(self.value, self.base.sample(sample_shape))

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self._pick(self.value, self.base.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        same = _every(value == self.value, len(self.event_shape))
        free = self.base.log_prob(value)
        return torch.where(self.there, torch.where(same, 0.0, NEVER).to(free.dtype), free)

    def evidence(self) -> Tensor:
        r"""How likely `base` finds what is known: 0 where nothing is, of shape ``batch_shape``."""
        return self.under(self.base)

    def under(self, law: Any) -> Tensor:
        r"""The log density of what is known under another law of the same support.

        Arguments:
            law: The law, such as the prior.

        Returns:
            The log density in nats, 0 where nothing is known, of shape ``batch_shape``.
        """
        with torch.no_grad():  # stands for the holes, with gradients that are finite
            inside = torch.nan_to_num(self.value) if law.support.is_discrete else law.sample()
        return torch.where(self.there, law.log_prob(self._pick(self.value, inside)), 0.0)

    def _pick(self, known: Tensor, other: Tensor) -> Tensor:
        r"""What is known where it is, else the other."""
        there = self.there.reshape(self.there.shape + (1,) * len(self.event_shape))
        return torch.where(there, known.to(other.dtype), other)


def _every(good: Tensor, event_dim: int) -> Tensor:
    r"""Whether all elements of an event are good."""
    return good.flatten(-event_dim).all(-1) if event_dim else good
