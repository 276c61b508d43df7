import pyro.distributions as dist
from torch import Tensor
from torch.distributions import constraints

from ..base import Posterior
from ..distributions import IndependentBernoulli


class Bernoulli(Posterior):
    r"""Creates :math:`q(z \mid x) = \prod_l \mathrm{Bernoulli}(z_l; f_l(x))` of bits.

    Up to 12 bits can be enumerated; more are trained by the score function.

    References:
        | Neural Variational Inference and Learning in Belief Networks (Mnih & Gregor, 2014)
        | https://arxiv.org/abs/1402.0030

    Arguments:
        encoder: Maps :math:`x` to logits, of shape `(*batch, latent_dim)`.
    """

    formula = "q(z | x) = prod_l Bernoulli(z_l; p_l(x))"
    advice = "bits; enumerated if few, else by the score function"
    outputs_per_feature = 1

    support = constraints.boolean
    reparameterized = False
    enumerable = True

    def forward(self, x: Tensor) -> dist.Distribution:
        return IndependentBernoulli(self.encoder(x))
