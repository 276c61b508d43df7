r"""Laws of positive numbers, right where single precision ends."""

from math import log, pi
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from .counts import LARGEST_LOG

SMALLEST_LOG = -60.0  # of a mean; x / m of numbers below 10^12 stays finite


class LogNormal(dist.TorchDistribution):
    r"""Creates the law of :math:`e^y` of a Normal :math:`y`; samples are finite and not zero.

    Arguments:
        loc: The mean of the logarithm.
        scale: Its standard deviation.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.positive

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "LogNormal":
        return LogNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale.square() / 2).clamp(-LARGEST_LOG, LARGEST_LOG).exp()

    @property
    def variance(self) -> Tensor:
        return self.mean.square() * torch.expm1(self.scale.square())

    def log_prob(self, value: Tensor) -> Tensor:
        log_x = value.log()
        y = (log_x - self.loc) / self.scale
        return -y.square() / 2 - self.scale.log() - log(2 * pi) / 2 - log_x

    def cdf(self, value: Tensor) -> Tensor:
        return torch.special.ndtr((value.log() - self.loc) / self.scale)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            loc = self.loc.expand(self._extended_shape(sample_shape))
            y = loc + self.scale * torch.randn_like(loc)
            return y.clamp(-LARGEST_LOG, LARGEST_LOG).exp()


class Gamma(dist.TorchDistribution):
    r"""Creates the gamma law of a mean `m` and a shape `a`, of variance :math:`m^2 / a`.

    .. math:: \log p(x) = a \log(a / m) + (a - 1) \log x - a x / m - \log \Gamma(a)

    It is computed in double precision, as its terms cancel for large shapes.

    Arguments:
        log_mean: The log mean; it is kept within [-60, 80].
        log_shape: :math:`\log a`; it is kept within [-20, 20].
    """

    arg_constraints = {"log_mean": constraints.real, "log_shape": constraints.real}
    support = constraints.positive

    def __init__(self, log_mean: Tensor, log_shape: Tensor) -> None:
        self.log_mean, self.log_shape = torch.broadcast_tensors(
            log_mean.clamp(SMALLEST_LOG, LARGEST_LOG), log_shape.clamp(-20.0, 20.0)
        )
        super().__init__(self.log_mean.shape, torch.Size(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Gamma":
        return Gamma(self.log_mean.expand(batch_shape), self.log_shape.expand(batch_shape))

    @property
    def concentration(self) -> Tensor:
        return self.log_shape.exp()

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        return (2 * self.log_mean - self.log_shape).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        log_x, log_a = value.double().log(), self.log_shape.double()
        a, y = log_a.exp(), log_x - self.log_mean
        return (a * (log_a + y - y.exp()) - torch.lgamma(a) - log_x).to(self.log_mean.dtype)

    def cdf(self, value: Tensor) -> Tensor:
        a = self.concentration
        return torch.special.gammainc(a, a * value / self.mean)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            a = self.concentration.expand(self._extended_shape(sample_shape))
            x = self.mean * (torch._standard_gamma(a) / a)
            return x.clamp(torch.finfo(x.dtype).tiny, torch.finfo(x.dtype).max)
