import pyro.distributions as dist
from torch import Tensor, nn

from .. import transforms
from ..base import Posterior
from ..counted import counted
from ..distributions import Flow, scale_of


class Householder(Posterior):
    r"""Creates :math:`q(z \mid x)`: a Normal, turned by reflections that depend on :math:`x`.

    .. math:: z_t = z_{t - 1} - 2 v_t v_t^\top z_{t - 1} / v_t^\top v_t

    The result is a Normal with a full covariance; volumes stay.

    References:
        | Improving Variational Auto-Encoders using Householder Flow (Tomczak & Welling, 2016)
        | https://arxiv.org/abs/1611.09630

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma` and each :math:`v_t`, of shape
            `(*batch, latent_dim * (2 + num_transforms))`.
        latent_dim: The number of latent features.
    """

    formula = "q(z | x): a Normal turned by reflections"
    advice = "correlations at the price of some reflections"

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int) -> None:
        super().__init__(encoder)
        self.latent_dim = latent_dim

    @staticmethod
    def num_outputs(latent_dim: int, num_transforms: int = 4) -> int:
        return (2 + num_transforms) * latent_dim

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale, *directions = self.encoder(x).split(self.latent_dim, dim=-1)
        steps = [transforms.Householder(v) for v in directions]
        normal = dist.Normal(loc, scale_of(log_scale)).to_event(1)
        return Flow(normal, steps)
