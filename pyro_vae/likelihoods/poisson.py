import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ..base import Likelihood


class Poisson(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Poisson}(x_i; e^{f_i(z)})` of counts.

    Arguments:
        decoder: Maps :math:`z` to log rates :math:`f`, of shape `(*batch, *x_shape)`.
        event_dim: The number of dimensions of one datum.
    """

    support = constraints.nonnegative_integer
    link = "log"

    def forward(self, z: Tensor) -> dist.Distribution:
        return dist.Poisson(self.decoder(z).exp()).to_event(self.event_dim)
