import pyro.distributions as dist
from torch import Tensor
from torch.nn.functional import softplus

from .. import distributions
from ..base import Likelihood
from ..distributions.scales import logit_of
from ..distributions.support import open_unit_interval


class Beta(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Beta}(x_i; m_i c_i, (1 - m_i) c_i)`.

    Of numbers strictly between 0 and 1, with mean :math:`m` and concentration :math:`c`.

    References:
        | Beta Regression for Modelling Rates and Proportions (Ferrari & Cribari-Neto, 2004), Eq. 4

    Arguments:
        decoder: Maps :math:`z` to :math:`\mathrm{logit}\, m` and, before a softplus, :math:`c`,
            joined in the first dimension of `x_shape`.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i Beta(x_i; m_i c_i, (1 - m_i) c_i)"
    advice = "for rates strictly between 0 and 1"

    outputs_per_element = 2
    support = open_unit_interval

    def outputs_at(self, mean: Tensor) -> Tensor:
        return logit_of(mean)

    def forward(self, z: Tensor) -> dist.Distribution:
        logit, raw = distributions.halves(self.decode(z), -self.event_dim)
        concentration = softplus(raw) + 1e-2
        low, high = logit.neg().sigmoid() * concentration, logit.sigmoid() * concentration
        return distributions.Beta(high + 1e-4, low + 1e-4).to_event(self.event_dim)
