import pyro.distributions as dist
from torch import Tensor

from ..base import Posterior
from ..distributions import halves, scale_of


class MeanFieldNormal(Posterior):
    r"""Creates :math:`q(z \mid x) = \mathcal{N}(z; \mu(x), \mathrm{diag}\,\sigma^2(x))`.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), Eq. 9
        | https://arxiv.org/abs/1312.6114

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu` and :math:`\log \sigma`, of shape
            `(*batch, 2 * latent_dim)`.
    """

    formula = "q(z | x) = N(z; mu(x), diag sigma^2(x))"
    advice = "the start"

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale = halves(self.encoder(x), -1)
        return dist.Normal(loc, scale_of(log_scale)).to_event(1)
