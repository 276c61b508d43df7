from collections.abc import Sequence

from torch import nn

from .. import flows
from ..counted import Size, counted
from .flow import Flow


class IAF(Flow):
    r"""Creates :math:`q(z \mid x)`: a Normal through inverse autoregressive flows.

    .. math:: z_0 = \mu(x) + \sigma(x) \epsilon, \quad
        z_t = \sigma_t \odot z_{t - 1} + (1 - \sigma_t) \odot m_t

    :math:`m_t, \sigma_t` are autoregressive in :math:`z_{t - 1}` and see the context
    :math:`h(x)`. Samples and their density take one pass; the density of another value takes
    `latent_dim` passes.

    References:
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma` and :math:`h`, of shape
            `(*batch, 2 * latent_dim + context_features)`.
        latent_dim: The number of latent features.
        num_transforms: The number of transforms, whose order alternates.
        hidden_features: The hidden layers of each network.
        context_features: The size of the context.
    """

    formula = "q(z | x): a Normal through inverse autoregressive flows"
    advice = "the most bound for the time, where latent_dim is not tiny"

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_transforms: int = 2,
        hidden_features: Sequence[int] = (100,),
        context_features: Size = 32,
    ) -> None:
        layers = [
            flows.Autoregressive(latent_dim, hidden_features, context_features, reverse=i % 2 == 1)
            for i in range(num_transforms)
        ]
        super().__init__(encoder, latent_dim, layers)

    @staticmethod
    def num_outputs(latent_dim: int, context_features: int = 32) -> int:
        return flows.num_outputs(latent_dim) + context_features
