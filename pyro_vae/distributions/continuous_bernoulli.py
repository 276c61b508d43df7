r"""The continuous Bernoulli, right at any logit."""

from math import log
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

SMALL = 1e-2


class ContinuousBernoulli(dist.TorchDistribution):
    r"""Creates a density on [0, 1] that is proportional to :math:`e^{f x}`.

    .. math:: \log p(x) = f x - \log \frac{e^f - 1}{f}

    PyTorch's clamps probabilities, which fixes its normalizer beyond logits of some 16: at a
    logit of 40 in single precision its density does not integrate to 1.

    References:
        | The continuous Bernoulli (Loaiza-Ganem & Cunningham, 2019), Eq. 7
        | https://arxiv.org/abs/1907.06845

    Arguments:
        logits: The logit :math:`f`, of any shape.
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ContinuousBernoulli":
        return ContinuousBernoulli(self.logits.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        f, near = self._away_from_zero()
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        return torch.where(near, series, 1 / (1 - torch.exp(-f)) - 1 / f)

    @property
    def variance(self) -> Tensor:
        f = self.logits
        near = f.abs() < 0.5  # 1 / f^2 cancels there
        away = torch.where(near, torch.full_like(f, 0.5), f)
        half = away.abs() / 2
        sinh = half - log(2) + torch.log(-torch.expm1(-2 * half))  # log sinh(|f| / 2)
        exact = away.pow(-2) - torch.exp(-2 * sinh) / 4
        square = f.square()
        series = 1 / 12 - square / 240 + square**2 / 6048 - square**3 / 172800
        return torch.where(near, series, exact)

    def log_prob(self, value: Tensor) -> Tensor:
        # log((e^f - 1) / f) = max(f, 0) + log((1 - e^-|f|) / |f|), near zero f / 2 + f^2 / 24
        f, near = self._away_from_zero()
        size = f.abs()
        normalizer = f.clamp(min=0) + torch.log(-torch.expm1(-size) / size)
        series = self.logits / 2 + self.logits.square() / 24
        return self.logits * value - torch.where(near, series, normalizer)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            f, near = self._away_from_zero()
            size, u = f.abs(), torch.rand_like(f.expand(shape))
            low = -torch.log1p(u * torch.expm1(-size)) / size  # at -|f|; 1 - x is at |f|
            series = u - self.logits * u * (u - 1) / 2
            return torch.where(near, series, torch.where(f > 0, 1 - low, low)).clamp(0, 1)

    def _away_from_zero(self) -> tuple[Tensor, Tensor]:
        r"""Logits where formulas in :math:`1 / f` are safe, and where series replace them."""
        near = self.logits.abs() < SMALL
        return torch.where(near, torch.full_like(self.logits, SMALL), self.logits), near
