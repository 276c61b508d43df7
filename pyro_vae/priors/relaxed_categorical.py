import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from ..base import Prior
from ..counted import Positive, counted
from ..distributions import OneHots, RelaxedOneHots
from ..distributions.discrete import check_blocks


class RelaxedCategorical(Prior):
    r"""Creates a relaxation of the prior :class:`Categorical` to points of the simplex.

    In evaluation mode it is the Categorical itself.

    References:
        | The Concrete Distribution (Maddison et al., 2017), Eq. 10
        | https://arxiv.org/abs/1611.00712

    Arguments:
        latent_dim: The number of latent features, a multiple of `num_categories`.
        num_categories: The size of a block; by default all features are one block.
        temperature: The temperature :math:`\lambda`, where it starts.
        learned: Whether the logits are parameters; they start at zero.
    """

    formula = "p(z): one-hot blocks relaxed to the simplex"
    advice = "trains classes by reparameterization; evaluated one-hot"

    support = constraints.unit_interval

    @counted
    def __init__(
        self,
        latent_dim: int,
        num_categories: int | None = None,
        temperature: Positive = 0.67,
        learned: bool = False,
    ) -> None:
        super().__init__()
        self.num_categories = check_blocks(latent_dim, num_categories)
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=learned)
        self.temperature: torch.Tensor
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self) -> dist.Distribution:
        if not self.training:
            return OneHots(self.logits, self.num_categories)
        return RelaxedOneHots(self.temperature, self.logits, self.num_categories)
