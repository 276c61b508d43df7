from math import log

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import Likelihood
from ..counted import Positive, counted
from ..distributions import NegativeBinomial, ZeroInflated, halves
from ..distributions.scales import log_of


class ZeroInflatedNegativeBinomial(Likelihood):
    r"""Creates :math:`\prod_i [g_i \mathbb{1}(x_i = 0) + (1 - g_i) \mathrm{NB}(x_i; m_i, r)]`.

    Counts with more zeros than a negative binomial has.

    References:
        | Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Arguments:
        decoder: Maps :math:`z` to :math:`\log m` and :math:`\mathrm{logit}\, g`, joined in the
            first dimension of `x_shape`.
        total_count: Where :math:`r` starts, one learned number.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i [g_i 1(x_i = 0) + (1 - g_i) NB(x_i; m_i, r)]"
    advice = "for counts with more zeros than that"

    outputs_per_element = 2
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
        log_mean, gate = halves(self.decode(z), -self.event_dim)
        counts = NegativeBinomial(log_mean, self.log_count)
        return ZeroInflated(counts, gate).to_event(self.event_dim)
