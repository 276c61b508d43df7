r"""Distributions through bijections, whose density is never NaN."""

import pyro.distributions as dist
import torch
from torch import Tensor


class Flow(dist.TransformedDistribution):
    r"""Creates the distribution of :math:`g(u)` for a bijection `g` of a variable `u`.

    So far out that the inverse of `g` overflows there is no mass: the log density is
    :math:`-\infty`, where sums and differences of infinities would make it NaN.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        log_p = super().log_prob(value)
        lost = log_p.isnan() | (log_p == torch.inf)
        return torch.where(lost, -torch.inf, log_p)
