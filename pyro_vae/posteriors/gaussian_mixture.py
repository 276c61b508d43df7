import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..counted import counted
from ..distributions import DiagonalNormalMixture, scale_of


class GaussianMixture(Posterior):
    r"""Creates :math:`q(z \mid x) = \sum_k \pi_k \mathcal{N}(z; \mu_k, \mathrm{diag} \sigma_k^2)`.

    All depend on :math:`x`. Gradients are those of implicit reparameterization, exact for weights,
    means and scales (:class:`pyro_vae.distributions.DiagonalNormalMixture`).

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018), Sec. 4.3
        | https://arxiv.org/abs/1805.08498

    Arguments:
        encoder: Maps :math:`x` to each :math:`\log \pi_k, \mu_k, \log \sigma_k`, of shape
            `(*batch, num_components * (1 + 2 * latent_dim))`.
        latent_dim: The number of latent features.
        num_components: The number of components.
    """

    formula = "q(z | x) = sum_k pi_k(x) N(z; mu_k(x), diag sigma_k^2(x))"
    advice = "several modes"

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int, num_components: int = 4) -> None:
        super().__init__(encoder)
        self.num_components = num_components
        self.sizes = [1, latent_dim, latent_dim]

    @staticmethod
    def num_outputs(latent_dim: int, num_components: int = 4) -> int:
        return num_components * (1 + 2 * latent_dim)

    def forward(self, x: Tensor) -> dist.Distribution:
        outputs = self.encoder(x).unflatten(-1, (self.num_components, -1))
        logits, loc, log_scale = outputs.split(self.sizes, dim=-1)
        return DiagonalNormalMixture(loc, scale_of(log_scale), logits[..., 0])
