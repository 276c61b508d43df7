import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..base import Posterior
from ..counted import counted
from ..distributions import scale_of


class FullCovarianceNormal(Posterior):
    r"""Creates :math:`q(z \mid x) = \mathcal{N}(z; \mu(x), L(x) L(x)^\top)`.

    :math:`L` is lower triangular; its diagonal is given by its logarithm.

    References:
        | An Introduction to Variational Autoencoders (Kingma & Welling, 2019), Sec. 2.5.1
        | https://arxiv.org/abs/1906.02691

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu` and the rows of :math:`L`, of shape
            `(*batch, latent_dim + latent_dim * (latent_dim + 1) / 2)`.
        latent_dim: The number of latent features.
    """

    formula = "q(z | x) = N(z; mu(x), L(x) L(x)')"
    advice = "all correlations; exact for linear-Gaussian models"

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int) -> None:
        super().__init__(encoder)
        self.latent_dim = latent_dim
        rows, columns = torch.tril_indices(latent_dim, latent_dim)
        places = torch.zeros(latent_dim, latent_dim, dtype=torch.int64)
        places[rows, columns] = torch.arange(1, len(rows) + 1)  # above the diagonal stands a zero
        self.places: Tensor
        self.register_buffer("places", places.flatten(), persistent=False)

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim + latent_dim * (latent_dim + 1) // 2

    def forward(self, x: Tensor) -> dist.Distribution:
        outputs = self.encoder(x)
        loc, entries = outputs[..., : self.latent_dim], outputs[..., self.latent_dim :]
        tril = pad(entries, (1, 0)).index_select(-1, self.places)
        tril = tril.unflatten(-1, (self.latent_dim, self.latent_dim))
        scale = scale_of(tril.diagonal(dim1=-2, dim2=-1))
        scale_tril = tril.tril(-1) + scale.diag_embed()
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)
