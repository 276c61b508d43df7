from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood


class Categorical(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Categorical}(x_i; f_i(z))` of levels.

    Each level has a logit of its own, so that any histogram fits.

    References:
        | Pixel Recurrent Neural Networks (van den Oord et al., 2016), Sec. 2.2
        | https://arxiv.org/abs/1601.06759

    Arguments:
        decoder: Maps :math:`z` to the logits of each level, joined in the first dimension of
            `x_shape`.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i Categorical(x_i; f_i(z)), a logit for each level"
    advice = "for codes without an order, or few levels"
    support_name = "{0, ..., n}"

    def __init__(self, decoder: nn.Module, num_levels: int = 256, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        self.num_levels = num_levels
        self.support = constraints.integer_interval(0, num_levels - 1)

    @staticmethod
    def num_outputs(num_levels: int = 256, **others: Any) -> int:
        return num_levels

    def outputs_at(self, mean: Tensor) -> None:
        return None

    def forward(self, z: Tensor) -> dist.Distribution:
        logits = self.decode(z).unflatten(-self.event_dim, (self.num_levels, -1))
        logits = logits.movedim(-self.event_dim - 1, -1)
        return distributions.Levels(logits).to_event(self.event_dim)
