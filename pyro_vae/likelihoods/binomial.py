import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import Likelihood


class Binomial(Likelihood):
    r"""Creates the likelihood :math:`p(x \mid z) = \prod_i \mathrm{Binomial}(x_i; n, f_i(z))`.

    .. math:: \log p(x_i \mid z) = \log \binom{n}{x_i} + x_i f_i - n \log(1 + e^{f_i})

    A density of grey levels :math:`0 \ldots n`: each pixel counts :math:`n` coin flips.

    Arguments:
        decoder: Maps :math:`z` to logits, of shape `(*batch, *x_shape)`.
        total_count: The highest level :math:`n`.
        event_dim: The number of dimensions of one datum.
    """

    link = "logit"

    def __init__(self, decoder: nn.Module, total_count: int, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        self.total_count = total_count
        self.support = constraints.integer_interval(0, total_count)

    def forward(self, z: Tensor) -> dist.Distribution:
        logits = self.decoder(z)
        count = logits.new_full((), self.total_count)
        return dist.Binomial(count, logits=logits).to_event(self.event_dim)
