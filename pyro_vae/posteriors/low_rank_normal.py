import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..distributions import bounded


class LowRankNormal(Posterior):
    r"""Creates :math:`q(z \mid x) = \mathcal{N}(z; \mu, W W^\top + \mathrm{diag}\,\sigma^2)`.

    All three depend on :math:`x`; :math:`W` has `rank` columns.

    References:
        | Gaussian Variational Approximation with a Factor Covariance (Ong et al., 2018), Eq. 4
        | https://arxiv.org/abs/1701.03208

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma` and :math:`W`, of shape
            `(*batch, latent_dim * (2 + rank))`.
        rank: The number of columns of :math:`W`.
    """

    formula = "q(z | x) = N(z; mu(x), W(x) W(x)' + diag sigma^2(x))"
    advice = "correlations along few directions"

    def __init__(self, encoder: nn.Module, rank: int = 2) -> None:
        super().__init__(encoder)
        self.rank = rank

    @staticmethod
    def num_outputs(latent_dim: int, rank: int = 2) -> int:
        return (2 + rank) * latent_dim

    def forward(self, x: Tensor) -> dist.Distribution:
        parts = self.encoder(x).unflatten(-1, (2 + self.rank, -1))
        loc, log_scale, factor = parts[..., 0, :], parts[..., 1, :], parts[..., 2:, :]
        return dist.LowRankMultivariateNormal(loc, factor.mT, (2 * bounded(log_scale)).exp())
