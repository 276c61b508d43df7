import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import Posterior
from ..counted import Positive, counted
from ..distributions import OneHots, RelaxedOneHots, StraightThrough
from ..distributions.discrete import OneHotsConstraint, check_blocks


class RelaxedCategorical(Posterior):
    r"""Creates a relaxation of the posterior :class:`Categorical` to points of the simplex.

    It trains on a relaxed bound. Straight through, samples are one-hot with the relaxation's
    gradient, under the categorical prior. In evaluation mode it is the Categorical itself.

    References:
        | Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017)
        | https://arxiv.org/abs/1611.01144

    Arguments:
        encoder: Maps :math:`x` to logits, of shape `(*batch, latent_dim)`.
        latent_dim: The number of latent features, a multiple of `num_categories`.
        num_categories: The size of a block; by default all features are one block.
        temperature: The temperature :math:`\lambda`, where it starts.
        straight_through: Whether samples are rounded.
    """

    formula = "q(z | x): one-hot blocks relaxed to the simplex; straight through, one-hot"
    advice = "many classes by reparameterization; straight-through gradients are biased"
    support_name = "[0, 1], or one-hot blocks straight through"
    outputs_per_feature = 1

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_categories: int | None = None,
        temperature: Positive = 0.67,
        straight_through: bool = False,
    ) -> None:
        super().__init__(encoder)
        self.num_categories = check_blocks(latent_dim, num_categories)
        self.straight_through = straight_through
        if straight_through:
            self.support = OneHotsConstraint(self.num_categories)
        else:
            self.support = constraints.unit_interval
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, x: Tensor) -> dist.Distribution:
        logits, size = self.encoder(x), self.num_categories
        if not self.training:
            return OneHots(logits, size)
        relaxed = RelaxedOneHots(self.temperature, logits, size)
        return (
            StraightThrough(OneHots(logits, size), relaxed) if self.straight_through else relaxed
        )
