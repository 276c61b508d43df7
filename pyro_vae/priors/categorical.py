import pyro.distributions as dist
import torch
from torch import nn

from ..base import Prior
from ..counted import counted
from ..distributions import OneHots
from ..distributions.discrete import OneHotsConstraint, check_blocks


class Categorical(Prior):
    r"""Creates the prior :math:`p(z) = \prod_n \mathrm{Categorical}(z_n; f_n)` of one-hot blocks.

    References:
        | Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017), Sec. 4
        | https://arxiv.org/abs/1611.01144

    Arguments:
        latent_dim: The number of latent features, a multiple of `num_categories`.
        num_categories: The size of a block; by default all features are one block.
        learned: Whether the logits are parameters; they start at zero, all equally probable.

    Example:
        >>> Categorical(6, num_categories=3)().event_shape
        torch.Size([6])
    """

    formula = "p(z) = prod_n Categorical(z_n; p_n), one-hot blocks end to end"
    advice = "for classes; one block enumerates cheaply"
    support_name = "one-hot blocks"

    @counted
    def __init__(
        self, latent_dim: int, num_categories: int | None = None, learned: bool = False
    ) -> None:
        super().__init__()
        self.num_categories = check_blocks(latent_dim, num_categories)
        self.support = OneHotsConstraint(self.num_categories)
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=learned)

    def forward(self) -> dist.Distribution:
        return OneHots(self.logits, self.num_categories)
