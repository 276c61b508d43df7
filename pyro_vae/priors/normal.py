from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import nn

from ..base import Prior
from ..counted import counted
from ..distributions import scale_of


class Normal(Prior):
    r"""Creates the prior :math:`p(z) = \mathcal{N}(z; \mu, \mathrm{diag}\,\sigma^2)`.

    Given loc and scale say what is known of :math:`z` beforehand; learned ones start there.

    Arguments:
        latent_dim: The number of latent features.
        loc: The mean :math:`\mu`, a number or one for each feature.
        scale: The standard deviation :math:`\sigma`, a number or one for each feature.
        learned: Whether both are parameters.

    Raises:
        ValueError: A scale is not positive.

    Example:
        >>> Normal(2, loc=[0.0, 3.0], scale=0.5)().mean.tolist()
        [0.0, 3.0]
    """

    formula = "p(z) = N(mu, diag sigma^2), given or learned"
    advice = "when something is known of z beforehand"

    @counted
    def __init__(
        self,
        latent_dim: int,
        loc: float | Sequence[float] = 0.0,
        scale: float | Sequence[float] = 1.0,
        learned: bool = False,
    ) -> None:
        super().__init__()
        start_loc = torch.zeros(latent_dim) + torch.as_tensor(loc)
        start_scale = torch.zeros(latent_dim) + torch.as_tensor(scale)
        if not (start_scale > 0).all():
            raise ValueError(f"Expected positive scales; got {scale}.")
        self.loc = nn.Parameter(start_loc, requires_grad=learned)
        self.log_scale = nn.Parameter(start_scale.log(), requires_grad=learned)

    def forward(self) -> dist.Distribution:
        return dist.Normal(self.loc, scale_of(self.log_scale)).to_event(1)
