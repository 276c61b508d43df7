import pyro.distributions as dist
import torch
from pyro.distributions import constraints

from .. import distributions
from ..base import Prior
from ..counted import counted


class HypersphereUniform(Prior):
    r"""Creates the uniform prior :math:`p(z) = \Gamma(d/2) / 2 \pi^{d/2}` on the unit sphere.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018), Sec. 3
        | https://arxiv.org/abs/1804.00891

    Arguments:
        latent_dim: The number `d` of coordinates; the sphere has :math:`d - 1` dimensions.
    """

    formula = "p(z) = 1 / surface of the unit sphere"
    advice = "for directions, with the von-mises-fisher posterior"

    support = constraints.sphere

    @counted
    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.loc: torch.Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.Distribution:
        return distributions.HypersphereUniform(self.loc)
