r"""Counts that are not zero."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

SMALL = -12.0  # of a complementary log-log; below, two terms of the series are exact


class ZeroTruncated(dist.TorchDistribution):
    r"""Creates :math:`p(x) / (1 - p(0))` on :math:`x \geq 1`, of a law of counts.

    :math:`\log(1 - p(0))` comes from :math:`\log(-\log p(0))`, which keeps its digits where
    :math:`p(0)` rounds to 1.

    Arguments:
        base: The law of single counts :math:`p(x)`: Poisson, NegativeBinomial or Binomial.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base: Any) -> None:
        self.base = base
        super().__init__(base.batch_shape, torch.Size(), validate_args=False)

    @property
    def support(self) -> Any:
        highest = getattr(self.base.support, "upper_bound", None)
        if highest is None:
            return constraints.positive_integer
        return constraints.integer_interval(1, highest)

    @property
    def log_positive(self) -> Tensor:
        r""":math:`\log P(x > 0)`."""
        u = self.base.cloglog
        small = u < SMALL
        near = u.clamp(max=SMALL)
        series = near - near.exp() / 2
        exact = torch.log(-torch.expm1(-u.clamp(SMALL, 5.0).exp()))
        return torch.where(small, series, exact).to(self.base.mean.dtype)

    @property
    def mean(self) -> Tensor:
        return (self.base.log_mean - self.log_positive).exp()

    @property
    def variance(self) -> Tensor:
        # E[x^2 | x > 0] = E[x^2] / P(x > 0), and E[x] / P(x > 0) is the mean
        m = self.base.mean
        spread = self.base.variance / m.clamp(min=torch.finfo(m.dtype).tiny) + m
        return (self.mean * (spread - self.mean)).clamp(min=0)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value) - self.log_positive

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self.base.sample_positive(self._extended_shape(sample_shape))
