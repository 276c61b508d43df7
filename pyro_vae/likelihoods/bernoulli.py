import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ..base import Likelihood
from ..distributions.scales import logit_of


class Bernoulli(Likelihood):
    r"""Creates the likelihood :math:`\prod_i \mathrm{Bernoulli}(x_i; f_i(z))` of bits.

    The decoder gives logits: probabilities through a sigmoid saturate at
    :math:`\log p = -15.94` in single precision.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), App. C.1
        | https://arxiv.org/abs/1312.6114

    Arguments:
        decoder: Maps :math:`z` to logits, of shape `(*batch, *x_shape)`.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i Bernoulli(x_i; logit = f_i(z))"
    advice = "for bits; grey pixels are binarized first, or take another"

    support = constraints.boolean

    def outputs_at(self, mean: Tensor) -> Tensor:
        return logit_of(mean)

    def forward(self, z: Tensor) -> dist.Distribution:
        return dist.Bernoulli(logits=self.decode(z)).to_event(self.event_dim)
