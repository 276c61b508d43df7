r"""Laws of counts and shares whose densities lose no digits, and whose samples stay counts.

Terms such as :math:`\log x!` cancel: in single precision a count of a million is off by a nat. The
densities are computed in double precision, and returned in that of their parameters.
"""

from math import log, pi
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

LARGEST_LOG = 80.0  # of a mean; float32 overflows at 88.7
NORMAL_FROM = 1e7  # rates from which a Poisson variable is a rounded Normal one
FEW_TRIALS = 1000


class Poisson(dist.Poisson):
    r"""Creates the Poisson law of a log rate.

    Arguments:
        log_rate: The log rate; above 80 it counts as 80.
    """

    def __init__(self, log_rate: Tensor) -> None:
        self.log_rate = log_rate.clamp(max=LARGEST_LOG)
        super().__init__(self.log_rate.exp(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Poisson":
        return Poisson(self.log_rate.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        x, f = value.double(), self.log_rate.double()
        return (x * f - f.exp() - torch.lgamma(x + 1)).to(self.log_rate.dtype)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            return _poisson(self.rate.expand(self._extended_shape(sample_shape)))

    @property
    def log_mean(self) -> Tensor:
        return self.log_rate

    @property
    def cloglog(self) -> Tensor:
        r""":math:`\log(-\log p(0))`, in double precision."""
        return self.log_rate.double()

    def sample_positive(self, shape: torch.Size) -> Tensor:
        r"""Draws counts that are not zero: the first event comes at a time drawn from those
        before 1, the others in the time that is left."""
        rate = self.rate.double().expand(shape)
        return (1 + _poisson(rate * _time_left(rate))).to(self.rate.dtype)


class NegativeBinomial(dist.NegativeBinomial):
    r"""Creates the negative binomial law of a mean `m` and a shape `r`, of variance
    :math:`m + m^2 / r`.

    Arguments:
        log_mean: The log mean; above 80 it counts as 80.
        log_count: :math:`\log r`; it is kept within [-20, 20], beyond which the law is that of
            zeros or a Poisson.
    """

    def __init__(self, log_mean: Tensor, log_count: Tensor) -> None:
        self.log_mean = log_mean.clamp(max=LARGEST_LOG)
        self.log_count = log_count.clamp(-20.0, 20.0)
        logits = self.log_mean - self.log_count
        super().__init__(self.log_count.exp(), logits=logits, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "NegativeBinomial":
        return NegativeBinomial(self.log_mean.expand(batch_shape), self.log_count)

    @property
    def mean(self) -> Tensor:
        return self.log_mean.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        x, r = value.double(), self.log_count.double().exp()
        f = self.log_mean.double() - self.log_count.double()
        ways = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return (ways + r * logsigmoid(-f) + x * logsigmoid(f)).to(self.log_mean.dtype)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            count = self.log_count.exp().expand(shape)
            spread = torch._standard_gamma(count) / count
            return _poisson((self.mean * spread).clamp(max=torch.finfo(spread.dtype).max / 4))

    @property
    def cloglog(self) -> Tensor:
        r""":math:`\log(-\log p(0))`, in double precision."""
        log_r = self.log_count.double()
        f = self.log_mean.double() - log_r
        far = f < -30  # softplus f = e^f there
        return log_r + torch.where(far, f, softplus(f.clamp(min=-30)).log())

    def sample_positive(self, shape: torch.Size) -> Tensor:
        r"""Draws counts that are not zero: a Poisson number of logarithmic jumps, the first at a
        time drawn from those before 1, the others in the time that is left.

        References:
            | Efficient Generation of Logarithmically Distributed Pseudo-Random Variables (Kemp,
              1981), algorithm LK
        """
        f = (self.log_mean.double() - self.log_count.double()).expand(shape)
        left = _time_left(self.cloglog.exp().expand(shape)).log()
        rest = NegativeBinomial(self.log_mean.double() + left, self.log_count.double() + left)
        u, v = torch.rand_like(f), torch.rand_like(f).clamp(min=1e-300)
        log_q = torch.log1p(-(u * logsigmoid(-f)).exp()).clamp(max=-1e-300)
        first = 1 + (v.log() / log_q).floor()
        highest = torch.finfo(self.log_mean.dtype).max / 4
        return (first + rest.sample()).clamp(max=highest).to(self.log_mean.dtype)


class Binomial(dist.Binomial):
    r"""Creates the binomial law of logits, exact for any number of trials.

    Arguments:
        total_count: The number of trials.
        logits: The logits.
    """

    def __init__(self, total_count: int, logits: Tensor) -> None:
        self.trials = total_count
        super().__init__(logits.new_full((), total_count), logits=logits, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Binomial":
        return Binomial(self.trials, self.logits.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self.trials <= FEW_TRIALS:
            return super().log_prob(value)
        n, x, f = (t.double() for t in (self.total_count, value, self.logits))
        ways = torch.lgamma(n + 1) - torch.lgamma(x + 1) - torch.lgamma(n - x + 1)
        # x f - n log(1 + e^f), without the difference of large numbers
        return (ways - x * softplus(-f) - (n - x) * softplus(f)).to(self.logits.dtype)

    @property
    def log_mean(self) -> Tensor:
        return log(self.trials) + logsigmoid(self.logits)

    @property
    def cloglog(self) -> Tensor:
        r""":math:`\log(-\log p(0))`, in double precision."""
        f = self.logits.double()
        return log(self.trials) + torch.where(f < -30, f, softplus(f.clamp(min=-30)).log())

    def sample_positive(self, shape: torch.Size) -> Tensor:
        r"""Draws counts that are not zero: the first success comes at one of the trials, the
        others in the trials that are left."""
        f = self.logits.double().expand(shape)
        miss = logsigmoid(-f).clamp(max=-1e-300)
        first = torch.log1p(torch.rand_like(f) * torch.expm1(self.trials * miss)) / miss
        rest = self.trials - first.ceil().clamp(1, self.trials)
        return (1 + torch.binomial(rest, f.sigmoid())).to(self.logits.dtype)


class Beta(dist.Beta):
    r"""Creates the beta density, exact for large concentrations."""

    def log_prob(self, value: Tensor) -> Tensor:
        x, a, b = (t.double() for t in (value, self.concentration1, self.concentration0))
        volume = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
        density = volume + torch.xlogy(a - 1, x) + torch.special.xlog1py(b - 1, -x)
        return density.to(self.concentration1.dtype)


class StudentT(dist.StudentT):
    r"""Creates Student's t density, exact for many degrees of freedom."""

    def __init__(
        self, df: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = torch.broadcast_tensors(df, loc, scale)
        self._chi2 = dist.Gamma(0.5 * self.df, torch.full_like(self.df, 0.5))
        dist.TorchDistribution.__init__(self, self.df.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "StudentT":
        parameters = (self.df, self.loc, self.scale)
        return StudentT(*(t.expand(torch.Size(batch_shape)) for t in parameters))

    def log_prob(self, value: Tensor) -> Tensor:
        y, df = (value - self.loc) / self.scale, self.df.double()
        volume = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - (df * pi).log() / 2
        tail = (df + 1) / 2 * torch.log1p(y.double().square() / df)
        return (volume - tail).to(value.dtype) - self.scale.log()


def _poisson(rate: Tensor) -> Tensor:
    r"""Draws counts; of large rates a rounded Normal, as a generator's integers overflow."""
    small = torch.poisson(rate.clamp(max=NORMAL_FROM))
    large = (rate + rate.sqrt() * torch.randn_like(rate)).round().clamp(min=0)
    return torch.where(rate < NORMAL_FROM, small, large)


def _time_left(rate: Tensor) -> Tensor:
    r"""What is left of the time from 0 to 1 after the first event of a Poisson process that has
    one, in double precision."""
    rate = rate.clamp(min=1e-300)
    first = -torch.log1p(torch.rand_like(rate) * torch.expm1(-rate)) / rate
    return (1 - first).clamp(0, 1)
