r"""Grey levels as bins of a logistic density, or of a mixture of them."""

from math import log
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn.functional import logsigmoid


class DiscretizedLogistic(dist.TorchDistribution):
    r"""Creates a mixture of logistic densities whose mass falls into `n` bins on [-1, 1].

    The first and the last bin keep the tails, so that the `n` probabilities sum to 1. With
    :math:`a > b` the edges of a bin after standardization,

    .. math:: \sigma(a) - \sigma(b) = \sigma(a) \, \sigma(-b) \, (1 - e^{b - a})

    which loses no digits.

    References:
        | PixelCNN++ (Salimans et al., 2017), Eq. 2
        | https://arxiv.org/abs/1701.05517

    Arguments:
        logits: Of the `M` components, of shape `(*batch, M)`.
        loc: Their locations, -1 at the first and 1 at the last level; of the same shape.
        log_scale: The logarithms of their scales, of the same shape.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`.
    """

    arg_constraints: dict[str, Constraint] = {}

    def __init__(self, logits: Tensor, loc: Tensor, log_scale: Tensor, num_levels: int) -> None:
        self.log_weights = logits.log_softmax(-1)
        self.loc, self.log_scale, self.num_levels = loc, log_scale, num_levels
        super().__init__(loc.shape[:-1], torch.Size(), validate_args=False)

    @property
    def support(self) -> Constraint:
        return constraints.integer_interval(0, self.num_levels - 1)

    @property
    def mean(self) -> Tensor:
        r""":math:`\sum_{k \geq 1} P(x \geq k)`, summed a level at a time."""
        total = torch.zeros_like(self.loc)
        for level in range(1, self.num_levels):
            total = total + torch.sigmoid(-self._standard(level - 0.5))
        return (self.log_weights.exp() * total).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.unsqueeze(-1)
        above, below = self._standard(x + 0.5), self._standard(x - 0.5)
        first, last = x == 0, x == self.num_levels - 1
        inside = torch.where(first | last, 0.0, self._log_inside())
        log_p = torch.where(last, 0.0, logsigmoid(above))
        log_p = log_p + torch.where(first, 0.0, logsigmoid(-below)) + inside
        return (self.log_weights + log_p).logsumexp(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            k = dist.Categorical(logits=self.log_weights).expand(shape).sample()[..., None]
            loc, log_scale = (
                t.expand(*shape, -1).gather(-1, k)[..., 0] for t in (self.loc, self.log_scale)
            )
            y = loc + log_scale.exp() * torch.logit(torch.rand_like(loc), eps=1e-7)
            return ((y + 1) / 2 * (self.num_levels - 1)).round().clamp(0, self.num_levels - 1)

    def _log_inside(self) -> Tensor:
        r""":math:`\log(1 - e^{-w})` for the width `w` of a bin, also where `w` underflows."""
        log_width = log(2 / (self.num_levels - 1)) - self.log_scale
        width = log_width.exp()
        narrow = width < 1e-4
        wide = torch.where(narrow, 1.0, width)
        return torch.where(narrow, log_width - width / 2, torch.log(-torch.expm1(-wide)))

    def _standard(self, level: Tensor | float) -> Tensor:
        r"""A level's place on [-1, 1], standardized by each component."""
        y = 2 * level / (self.num_levels - 1) - 1
        return (y - self.loc) * torch.exp(-self.log_scale)
