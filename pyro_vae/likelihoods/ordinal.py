from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..counted import counted
from .per_column import shape_of


class Ordinal(Likelihood):
    r"""Creates the likelihood of ordered levels, a cumulative logit model.

    .. math:: P(x_i \leq k \mid z) = \sigma(c_k - f_i(z)), \quad c_0 < \ldots < c_{K - 2}

    It takes one output per element, where :class:`Categorical` takes one for each level.

    References:
        | Regression Models for Ordinal Data (McCullagh, 1980), Eq. 2.1

    Arguments:
        decoder: Maps :math:`z` to :math:`f`, of shape `(*batch, *x_shape)`.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`.
        cutpoints: Whether the learned cutpoints are ``"shared"`` by all elements of x, or each
            element has its own, ``"per-column"``.
        event_dim: The number of dimensions of one datum.
        x_shape: The shape of one datum, for cutpoints per column; by default that of the
            decoder's output, where it says one.
    """

    formula = "p(x | z) = prod_i P(x_i), P(x_i <= k) = S(c_k - f_i(z)), c_k learned"
    advice = "for ordered categories, such as grades or answers from never to always"
    support_name = "{0, ..., n}"

    @counted
    def __init__(
        self,
        decoder: nn.Module,
        num_levels: int = 5,
        cutpoints: Literal["shared", "per-column"] = "shared",
        event_dim: int = 1,
        x_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(decoder, event_dim)
        if num_levels < 2:
            raise ValueError(f"Expected num_levels of at least 2; got {num_levels}.")
        self.num_levels = num_levels
        self.support = constraints.integer_interval(0, num_levels - 1)
        shape = shape_of(decoder, x_shape, "cutpoints") if cutpoints == "per-column" else ()
        start = (torch.arange(1, num_levels) / num_levels).logit()  # all levels alike at f = 0
        self.first = nn.Parameter(start[0].expand(shape).clone())
        self.log_gaps = nn.Parameter(start.diff().log().expand(*shape, -1).clone())

    def outputs_at(self, mean: Tensor) -> Tensor:
        low, high = torch.full_like(mean, -20.0), torch.full_like(mean, 20.0)
        for _ in range(40):  # halves the interval
            middle = (low + high) / 2
            less = self._law(middle.reshape(self.first.shape or -1)).mean.flatten() < mean
            low, high = torch.where(less, middle, low), torch.where(less, high, middle)
        return low

    def forward(self, z: Tensor) -> dist.Distribution:
        return self._law(self.decode(z)).to_event(self.event_dim)

    def _law(self, loc: Tensor) -> Any:
        return distributions.Ordinal(loc, self.first, self.log_gaps.clamp(-20.0, 20.0))
