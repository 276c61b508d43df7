import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..counted import counted
from ..distributions import OneHots
from ..distributions.discrete import OneHotsConstraint, check_blocks


class Categorical(Posterior):
    r"""Creates :math:`q(z \mid x) = \prod_n \mathrm{Categorical}(z_n; f_n(x))` of one-hot blocks.

    Arguments:
        encoder: Maps :math:`x` to logits, of shape `(*batch, latent_dim)`.
        latent_dim: The number of latent features, a multiple of `num_categories`.
        num_categories: The size of a block; by default all features are one block.
    """

    formula = "q(z | x) = prod_n Categorical(z_n; p_n(x)), one-hot blocks end to end"
    advice = "classes; enumerated if few, else by the score function"
    support_name = "one-hot blocks"
    outputs_per_feature = 1

    reparameterized = False
    enumerable = True

    @counted
    def __init__(
        self, encoder: nn.Module, latent_dim: int, num_categories: int | None = None
    ) -> None:
        super().__init__(encoder)
        self.num_categories = check_blocks(latent_dim, num_categories)
        self.support = OneHotsConstraint(self.num_categories)

    def forward(self, x: Tensor) -> dist.Distribution:
        return OneHots(self.encoder(x), self.num_categories)
