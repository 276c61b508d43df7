import pyro.distributions as dist
from torch import Tensor

from ..base import Posterior
from ..distributions import halves, scale_of


class Laplace(Posterior):
    r"""Creates :math:`q(z \mid x) = \prod_l \mathrm{Laplace}(z_l; \mu_l(x), b_l(x))`.

    Its tails are heavier than a Normal's, which importance sampling from it likes.

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu` and :math:`\log b`, of shape
            `(*batch, 2 * latent_dim)`.
    """

    formula = "q(z | x) = prod_l Laplace(z_l; mu_l(x), b_l(x))"
    advice = "heavier tails, with the laplace prior"

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale = halves(self.encoder(x), -1)
        return dist.Laplace(loc, scale_of(log_scale)).to_event(1)
