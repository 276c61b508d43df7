import pyro.distributions as dist
import torch

from ..base import Prior
from ..counted import counted


class StandardNormal(Prior):
    r"""Creates the prior :math:`p(z) = \mathcal{N}(z; 0, I)`.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), Sec. 3
        | https://arxiv.org/abs/1312.6114

    Arguments:
        latent_dim: The number of latent features.

    Example:
        >>> StandardNormal(3)().event_shape
        torch.Size([3])
    """

    formula = "p(z) = N(0, I)"
    advice = "the start: nothing to learn, closed-form KL"

    @counted
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.loc: torch.Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.Distribution:
        return dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
