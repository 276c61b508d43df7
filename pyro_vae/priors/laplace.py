import pyro.distributions as dist
import torch

from ..base import Prior
from ..counted import Positive, counted


class Laplace(Prior):
    r"""Creates the prior :math:`p(z) = \prod_l \frac{1}{2b} e^{-|z_l| / b}`.

    Heavier tails and a sharper peak than a Normal's; it is not rotation invariant, so that axes
    mean something.

    Arguments:
        latent_dim: The number of latent features.
        scale: The scale :math:`b`; the standard deviation is :math:`\sqrt{2} b`.

    Example:
        >>> Laplace(3)().event_shape
        torch.Size([3])
    """

    formula = "p(z) = prod_l Laplace(z_l; 0, b)"
    advice = "for sparse features whose axes mean something"

    @counted
    def __init__(self, latent_dim: int, scale: Positive = 1.0) -> None:
        super().__init__()
        self.loc: torch.Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)
        self.scale = scale

    def forward(self) -> dist.Distribution:
        return dist.Laplace(self.loc, torch.full_like(self.loc, self.scale)).to_event(1)
