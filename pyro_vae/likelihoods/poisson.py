import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..distributions.scales import log_of


class Poisson(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Poisson}(x_i; e^{f_i(z)})` of counts.

    Arguments:
        decoder: Maps :math:`z` to log rates :math:`f`, of shape `(*batch, *x_shape)`.
        event_dim: The number of dimensions of one datum.

    Log rates above 80 count as 80, so that no rate overflows. Samples of rates above
    :math:`10^7` are rounded Normal ones.
    """

    formula = "p(x | z) = prod_i Poisson(x_i; e^f_i(z))"
    advice = "for counts whose variance is their mean"

    support = constraints.nonnegative_integer

    def outputs_at(self, mean: Tensor) -> Tensor:
        return log_of(mean)

    def forward(self, z: Tensor) -> dist.Distribution:
        return distributions.Poisson(self.decode(z)).to_event(self.event_dim)
