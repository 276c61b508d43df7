import pyro.distributions as dist
from torch import Tensor, nn

from .. import flows
from ..counted import counted
from ..deprecation import warn
from .flow import Flow


class Householder(Flow):
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
        num_transforms: The number of reflections.
    """

    formula = "q(z | x): a Normal turned by reflections"
    advice = "correlations at the price of some reflections"

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int, num_transforms: int = 4) -> None:
        super().__init__(encoder, latent_dim, [flows.Householder()] * num_transforms)

    @staticmethod
    def num_outputs(latent_dim: int, num_transforms: int = 4) -> int:
        return flows.num_outputs(latent_dim, [flows.Householder()] * num_transforms)

    def law(self, outputs: Tensor) -> dist.Distribution:
        count, rest = divmod(outputs.shape[-1], self.latent_dim)
        if count - 2 != len(self.layers) and count > 2 and not rest:  # until 0.3
            warn("The number of outputs of a Householder's encoder", f"num_transforms={count - 2}")
            self.layers = [flows.Householder()] * (count - 2)
        return super().law(outputs)
