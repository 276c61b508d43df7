import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ..base import Likelihood

LARGEST = 80.0  # log rate; float32 overflows at 88.7


class Poisson(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Poisson}(x_i; e^{f_i(z)})` of counts.

    Arguments:
        decoder: Maps :math:`z` to log rates :math:`f`, of shape `(*batch, *x_shape)`.
        event_dim: The number of dimensions of one datum.

    Log rates above 80 count as 80, so that no rate overflows.
    """

    support = constraints.nonnegative_integer
    link = "log"

    def forward(self, z: Tensor) -> dist.Distribution:
        rate = self.decoder(z).clamp(max=LARGEST).exp()
        return dist.Poisson(rate).to_event(self.event_dim)
