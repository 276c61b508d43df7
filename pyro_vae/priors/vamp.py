import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Posterior, Prior
from ..distributions import Mixture


class Vamp(Prior):
    r"""Creates the VampPrior :math:`p(z) = \frac{1}{K} \sum_k q(z \mid u_k)`.

    References:
        | VAE with a VampPrior (Tomczak & Welling, 2018), Eq. 9
        | https://arxiv.org/abs/1705.07120

    Arguments:
        posterior: The posterior :math:`q(z \mid x)`, shared with the VAE.
        pseudo_inputs: Where the learned pseudo-inputs :math:`u_k` start, of shape
            `(K, *x_shape)`; training data are a good choice.
    """

    def __init__(self, posterior: Posterior, pseudo_inputs: Tensor) -> None:
        super().__init__()
        if posterior.density != "anywhere":
            raise ValueError(
                "Expected a posterior whose density can be asked anywhere, as the VampPrior sums "
                f"it over pseudo-inputs; got {type(posterior).__name__}, which has it for "
                f"{posterior.density}. Choose MeanFieldNormal or FullCovarianceNormal."
            )
        self.support = posterior.support
        self.posterior = posterior
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone())
        self.logits: Tensor
        self.register_buffer("logits", torch.zeros(len(pseudo_inputs)), persistent=False)

    def forward(self) -> dist.Distribution:
        return Mixture(dist.Categorical(logits=self.logits), self.posterior(self.pseudo_inputs))
