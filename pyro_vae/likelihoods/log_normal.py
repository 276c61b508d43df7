from math import log

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..counted import Positive, counted
from ..distributions import scale_of
from ..distributions.scales import log_of


class LogNormal(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{LogNormal}(x_i; f_i(z), \sigma)`.

    The logarithm of a positive number has a Normal density: its error is relative.

    References:
        | Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2020), Sec. 2.2
        | https://arxiv.org/abs/1807.03653

    Arguments:
        decoder: Maps :math:`z` to :math:`f`, the means of :math:`\log x`, of shape
            `(*batch, *x_shape)`.
        scale: Where :math:`\sigma`, the standard deviation of :math:`\log x`, starts, one learned
            number.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i LogNormal(x_i; f_i(z), sigma), sigma learned"
    advice = "for positive numbers over several orders of magnitude"

    support = constraints.positive

    @counted
    def __init__(self, decoder: nn.Module, scale: Positive = 1.0, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))

    def outputs_at(self, mean: Tensor) -> Tensor:
        return log_of(mean, 1e-20) - scale_of(self.log_scale.detach()).square() / 2

    def forward(self, z: Tensor) -> dist.Distribution:
        law = distributions.LogNormal(self.decode(z), scale_of(self.log_scale))
        return law.to_event(self.event_dim)
