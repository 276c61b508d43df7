import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..distributions.scales import logit_of


class ContinuousBernoulli(Likelihood):
    r"""Creates the likelihood :math:`\prod_i f_i e^{f_i x_i} / (e^{f_i} - 1)` of grey in [0, 1].

    What a cross-entropy of grey pixels lacks to be a density.

    References:
        | The continuous Bernoulli (Loaiza-Ganem & Cunningham, 2019)
        | https://arxiv.org/abs/1907.06845

    Arguments:
        decoder: Maps :math:`z` to logits :math:`f`, of shape `(*batch, *x_shape)`.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i f_i e^(f_i x_i) / (e^f_i - 1)"
    advice = "for grey in [0, 1]: the cross-entropy, made a density"

    support = constraints.unit_interval

    def outputs_at(self, mean: Tensor) -> Tensor:
        return logit_of(mean)

    def forward(self, z: Tensor) -> dist.Distribution:
        return distributions.ContinuousBernoulli(self.decode(z)).to_event(self.event_dim)
