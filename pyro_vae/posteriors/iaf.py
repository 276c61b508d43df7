from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..counted import counted
from ..distributions import Flow, scale_of
from ..nn import MADE
from ..transforms import Autoregressive, GatedAffine


class IAF(Posterior):
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
        context_features: int = 32,
    ) -> None:
        super().__init__(encoder)
        self.passes = latent_dim
        self.sizes = [latent_dim, latent_dim, context_features]
        self.nets = nn.ModuleList(
            MADE(latent_dim, hidden_features, GatedAffine.outputs, context_features, i % 2 == 1)
            for i in range(num_transforms)
        )

    @staticmethod
    def num_outputs(latent_dim: int, context_features: int = 32) -> int:
        return 2 * latent_dim + context_features

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale, context = self.encoder(x).split(self.sizes, dim=-1)
        transforms = [Autoregressive(net, GatedAffine(), context) for net in self.nets]
        return Flow(dist.Normal(loc, scale_of(log_scale)).to_event(1), transforms)
