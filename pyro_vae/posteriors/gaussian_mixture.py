import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..distributions import DiagonalNormalMixture


class GaussianMixture(Posterior):
    r"""Creates :math:`q(z \mid x) = \sum_k \pi_k \mathcal{N}(z; \mu_k, \mathrm{diag} \sigma_k^2)`.

    All depend on :math:`x`. Gradients are pathwise, along a velocity field that moves the
    mixture as a whole.

    References:
        | Pathwise Derivatives for Multivariate Distributions (Jankowiak & Karaletsos, 2019)
        | https://arxiv.org/abs/1806.01856

    Arguments:
        encoder: Maps :math:`x` to each :math:`\log \pi_k, \mu_k, \log \sigma_k`, of shape
            `(*batch, num_components * (1 + 2 * latent_dim))`, `latent_dim` at least 2.
        latent_dim: The number of latent features.
        num_components: The number of components.
    """

    def __init__(self, encoder: nn.Module, latent_dim: int, num_components: int = 4) -> None:
        super().__init__(encoder)
        if latent_dim < 2:
            raise ValueError("Expected at least 2 latent features for a mixture; got 1.")
        self.num_components = num_components
        self.sizes = [1, latent_dim, latent_dim]

    def forward(self, x: Tensor) -> dist.Distribution:
        outputs = self.encoder(x).unflatten(-1, (self.num_components, -1))
        logits, loc, log_scale = outputs.split(self.sizes, dim=-1)
        return DiagonalNormalMixture(loc, log_scale.exp(), logits[..., 0])
