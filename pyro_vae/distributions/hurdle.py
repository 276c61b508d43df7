r"""Zero or not, and how much if not."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn.functional import logsigmoid

from .support import any_value, open_unit_interval, same
from .truncated import ZeroTruncated


class Hurdle(dist.TorchDistribution):
    r"""Creates :math:`(1 - h) \, \mathbb{1}(x = 0) + h \, p_+(x)`, where zero has a
    probability of its own.

    Arguments:
        law: The law of single elements. A law of counts is truncated at zero to :math:`p_+`; a
            density of positive numbers is :math:`p_+` itself.
        logits: The logit of :math:`h = P(x > 0)`.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, law: Any, logits: Tensor) -> None:
        self.positive = ZeroTruncated(law) if law.support.is_discrete else law
        self.law, self.logits = law, logits
        super().__init__(logits.shape, torch.Size(), validate_args=False)

    @property
    def support(self) -> Constraint:
        return with_zero(self.law.support)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid() * self.positive.mean

    @property
    def variance(self) -> Tensor:
        h, m = self.logits.sigmoid(), self.positive.mean
        return h * (self.positive.variance + (1 - h) * m.square())

    def log_prob(self, value: Tensor) -> Tensor:
        zero = value == 0
        inside = torch.where(zero, any_value(self.positive.support, value), value)
        more = logsigmoid(self.logits) + self.positive.log_prob(inside)
        return torch.where(zero, logsigmoid(-self.logits), more)

    def cdf(self, value: Tensor) -> Tensor:
        inside = torch.where(value > 0, value, any_value(self.positive.support, value))
        more = torch.where(value > 0, self.positive.cdf(inside), 0.0)
        below = self.logits.neg().sigmoid() + self.logits.sigmoid() * more
        return torch.where(value < 0, 0.0, below)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        x = self.positive.sample(sample_shape)
        return torch.where(torch.rand_like(x) < self.logits.sigmoid(), x, 0.0).detach()


def with_zero(support: Constraint) -> Constraint:
    r"""A support with zero added, unless it has it."""
    if same(support, constraints.positive):
        return constraints.nonnegative
    if same(support, open_unit_interval):
        return constraints.half_open_interval(0.0, 1.0)
    return support
