import pyro.distributions as dist
import torch
from torch import nn

from ..base import Prior
from ..counted import counted
from ..distributions import Mixture, scale_of


class GaussianMixture(Prior):
    r"""Creates :math:`p(z) = \sum_k \pi_k \mathcal{N}(z; \mu_k, \mathrm{diag} \sigma_k^2)`.

    References:
        | Approximate Inference for Deep Latent Gaussian Mixtures (Nalisnick et al., 2016)
        | Deep Unsupervised Clustering with Gaussian Mixture VAEs (Dilokthanakul et al., 2016)
        | https://arxiv.org/abs/1611.02648

    Arguments:
        latent_dim: The number of latent features.
        num_components: The number of components, whose means start at draws from
            :math:`\mathcal{N}(0, I)`.
    """

    formula = "p(z) = sum_k pi_k N(z; mu_k, diag sigma_k^2), learned"
    advice = "for data in clusters; cheap"

    @counted
    def __init__(self, latent_dim: int, num_components: int = 10) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(num_components, latent_dim))

    def forward(self) -> dist.Distribution:
        components = dist.Normal(self.loc, scale_of(self.log_scale)).to_event(1)
        return Mixture(dist.Categorical(logits=self.logits), components)
