import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..distributions.scales import logit_of

MOST = 2**24


class Binomial(Likelihood):
    r"""Creates the likelihood :math:`p(x \mid z) = \prod_i \mathrm{Binomial}(x_i; n, f_i(z))`.

    .. math:: \log p(x_i \mid z) = \log \binom{n}{x_i} + x_i f_i - n \log(1 + e^{f_i})

    A density of grey levels :math:`0 \ldots n`: each pixel counts :math:`n` coin flips.

    Arguments:
        decoder: Maps :math:`z` to logits, of shape `(*batch, *x_shape)`.
        total_count: The highest level :math:`n`.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i Binomial(x_i; n, logit = f_i(z))"
    advice = "for grey levels of few bits, or counts out of n"
    support_name = "{0, ..., n}"

    def __init__(self, decoder: nn.Module, total_count: int = 255, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        if not 1 <= total_count <= MOST:
            raise ValueError(
                f"Expected 1 to {MOST} trials, which single precision holds exactly; got "
                f"{total_count}. Use a Gaussian likelihood for larger levels, in other units."
            )
        self.total_count = total_count
        self.support = constraints.integer_interval(0, total_count)

    def outputs_at(self, mean: Tensor) -> Tensor:
        return logit_of(mean / self.total_count)

    def forward(self, z: Tensor) -> dist.Distribution:
        law = distributions.Binomial(self.total_count, self.decode(z))
        return law.to_event(self.event_dim)
