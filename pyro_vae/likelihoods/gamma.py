from math import log

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..counted import Positive, counted
from ..distributions.scales import log_of


class Gamma(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Gamma}(x_i; a, a / m_i)`.

    With mean :math:`m = e^{f(z)}` the variance is :math:`m^2 / a`: the coefficient of variation
    is :math:`1 / \sqrt{a}` for all elements. :math:`a = 1` is an exponential density.

    References:
        | Generalized Linear Models (McCullagh & Nelder, 1989), Sec. 8.2

    Arguments:
        decoder: Maps :math:`z` to log means :math:`f`, of shape `(*batch, *x_shape)`.
        shape: Where the shape :math:`a` starts, one learned number.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i Gamma(x_i; a, a / m_i), mean m_i = e^f_i(z), a learned"
    advice = "for positive numbers, such as amounts and durations"

    support = constraints.positive

    @counted
    def __init__(self, decoder: nn.Module, shape: Positive = 1.0, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        self.log_shape = nn.Parameter(torch.tensor(log(shape)))

    def outputs_at(self, mean: Tensor) -> Tensor:
        return log_of(mean, 1e-20)

    def forward(self, z: Tensor) -> dist.Distribution:
        return distributions.Gamma(self.decode(z), self.log_shape).to_event(self.event_dim)
