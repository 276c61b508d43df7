import pyro.distributions as dist
from torch import Tensor

from ..base import Posterior


class Delta(Posterior):
    r"""Creates the point :math:`z = f(x)`: a plain autoencoder.

    Its training maximizes :math:`\log p(x, z)` at that point, which is no bound on
    :math:`\log p(x)`: a point has no density. The model's :math:`p(x)` exists all the same.

    Arguments:
        encoder: Maps :math:`x` to :math:`z`, of shape `(*batch, latent_dim)`.
    """

    formula = "q(z | x): the point z = f(x)"
    advice = "a plain autoencoder, for comparison: no bound on log p(x)"
    outputs_per_feature = 1

    density = "none"

    def forward(self, x: Tensor) -> dist.Distribution:
        return dist.Delta(self.encoder(x), event_dim=1)
