r"""Counts with more zeros than their law has."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn.functional import logsigmoid


class ZeroInflated(dist.TorchDistribution):
    r"""Creates :math:`g \, \mathbb{1}(x = 0) + (1 - g) \, p(x)` of a law of counts.

    Pyro's takes probabilities, which saturate.

    Arguments:
        base: The law :math:`p(x)` of single counts.
        gate_logits: The logit of :math:`g`, of the shape of its batch.
    """

    arg_constraints = {"gate_logits": constraints.real}

    def __init__(self, base: Any, gate_logits: Tensor) -> None:
        self.base, self.gate_logits = base, gate_logits
        super().__init__(base.batch_shape, torch.Size(), validate_args=False)

    @property
    def support(self) -> Constraint:
        return self.base.support

    @property
    def mean(self) -> Tensor:
        return self.base.mean * self.gate_logits.neg().sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        counted = self.base.log_prob(value) + logsigmoid(-self.gate_logits)
        zero = torch.logaddexp(logsigmoid(self.gate_logits), counted)
        return torch.where(value == 0, zero, counted)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        x = self.base.sample(sample_shape)
        return torch.where(torch.rand_like(x) < self.gate_logits.sigmoid(), 0.0, x).detach()
