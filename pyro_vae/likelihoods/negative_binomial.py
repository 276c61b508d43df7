from math import log

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..counted import Positive, counted
from ..distributions.scales import log_of


class NegativeBinomial(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{NB}(x_i; m_i, r)` of counts that spread.

    With mean :math:`m = e^{f(z)}` the variance is :math:`m + m^2 / r`; a large :math:`r` is a
    Poisson.

    References:
        | Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Arguments:
        decoder: Maps :math:`z` to log means :math:`f`, of shape `(*batch, *x_shape)`.
        total_count: Where :math:`r` starts, one learned number.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i NB(x_i; mean e^f_i(z), r), r learned"
    advice = "for counts that spread more than a Poisson's"

    support = constraints.nonnegative_integer

    @counted
    def __init__(
        self, decoder: nn.Module, total_count: Positive = 1.0, event_dim: int = 1
    ) -> None:
        super().__init__(decoder, event_dim)
        self.log_count = nn.Parameter(torch.tensor(log(total_count)))

    def outputs_at(self, mean: Tensor) -> Tensor:
        return log_of(mean)

    def forward(self, z: Tensor) -> dist.Distribution:
        law = distributions.NegativeBinomial(self.decode(z), self.log_count)
        return law.to_event(self.event_dim)
