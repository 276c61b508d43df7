r"""Real numbers that are recorded within limits."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from .support import Between
from .tails import SYMMETRIC, excess, log_tail


class Censored(dist.TorchDistribution):
    r"""Creates the law of :math:`x = \min(\max(y, l), u)`: a density between the limits, and a
    probability at each.

    .. math:: \log p(x) = \begin{cases} \log P(y \leq l) & x \leq l \\
        \log P(y \geq u) & x \geq u \\ \log p_y(x) & \text{else} \end{cases}

    References:
        | Estimation of Relationships for Limited Dependent Variables (Tobin, 1958), Sec. 4

    Arguments:
        law: The law of single :math:`y`: Normal, Laplace or Student's t.
        lower: The limit :math:`l`, or none.
        upper: The limit :math:`u`, or none.

    Raises:
        ValueError: It is another law.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, law: Any, lower: float | None = None, upper: float | None = None) -> None:
        if not isinstance(law, SYMMETRIC):
            raise ValueError(
                "Expected a law whose tails are known: Normal, Laplace or StudentT; got "
                f"{type(law).__name__}."
            )
        self.law, self.lower, self.upper = law, lower, upper
        super().__init__(law.batch_shape, torch.Size(), validate_args=False)

    @property
    def support(self) -> Between:
        return Between(self.lower, self.upper)

    def log_prob(self, value: Tensor) -> Tensor:
        found = self.law.log_prob(value)
        if self.lower is not None:
            below = log_tail(self.law, -self._standard(self.lower))
            found = torch.where(value <= self.lower, below, found)
        if self.upper is not None:
            above = log_tail(self.law, self._standard(self.upper))
            found = torch.where(value >= self.upper, above, found)
        return found

    def cdf(self, value: Tensor) -> Tensor:
        below = log_tail(self.law, -self._standard(value)).exp()
        if self.lower is not None:
            below = torch.where(value < self.lower, 0.0, below)
        return below if self.upper is None else torch.where(value >= self.upper, 1.0, below)

    @property
    def mean(self) -> Tensor:
        end, sign, first, _ = self._distance()
        return (end + sign * self.law.scale * first).to(self.law.loc.dtype)

    @property
    def variance(self) -> Tensor:
        _, _, first, second = self._distance()
        spread = (second - first.square()).clamp(min=0)
        return (self.law.scale.square() * spread).to(self.law.loc.dtype)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.law.sample(sample_shape).clamp(self.lower, self.upper)

    def _standard(self, value: Tensor | float) -> Tensor:
        return (value - self.law.loc) / self.law.scale

    def _distance(self) -> tuple[float, float, Tensor, Tensor]:
        r"""A limit, the direction of `x` from it, and the first two moments of the distance, in
        units of the scale."""
        sign = 1.0 if self.lower is not None else -1.0  # -1: the mirror image
        near, far = (self.lower, self.upper) if sign > 0 else (self.upper, None)
        assert near is not None
        a = self._standard(near) * sign
        first, second = excess(self.law, a)
        if far is not None:
            b = self._standard(far)
            one, two = excess(self.law, b)
            return near, sign, first - one, second - two - 2 * (b - a) * one
        if hasattr(self.law, "df"):  # it may have no mean
            first = torch.where(self.law.df > 1, first, torch.nan)
        return near, sign, first, second
