from collections.abc import Sequence
from typing import Literal

import pyro.distributions as dist
import torch
from torch import nn

from .. import distributions, flows
from ..base import Prior
from ..counted import counted
from ..transforms import GatedAffine, Spline


class Flow(Prior):
    r"""Creates the prior of :math:`z = f^{-1}(\epsilon), \; \epsilon \sim \mathcal{N}(0, I)`.

    .. math:: \log p(z) = \log \mathcal{N}(f(z); 0, I) + \log |\det \partial f / \partial z|

    :math:`f` is autoregressive: the density, which training asks for, takes one pass of the
    network, a sample `latent_dim` passes.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), Eq. 4
        | https://arxiv.org/abs/1705.07057

    Arguments:
        latent_dim: The number of latent features.
        num_transforms: The number of transforms.
        hidden_features: The hidden layers of each network.
        transform: ``"affine"`` or ``"spline"``, of single features.
    """

    formula = "p(z): N(0, I) through learned autoregressive maps"
    advice = "the most flexible; sampling takes latent_dim passes"

    @counted
    def __init__(
        self,
        latent_dim: int,
        num_transforms: int = 2,
        hidden_features: Sequence[int] = (100,),
        transform: Literal["affine", "spline"] = "affine",
    ) -> None:
        super().__init__()
        element = Spline() if transform == "spline" else GatedAffine()
        self.layers = [
            flows.Autoregressive(latent_dim, hidden_features, 0, element, reverse=i % 2 == 1)
            for i in range(num_transforms)
        ]
        self.nets = nn.ModuleList(layer.net for layer in self.layers)
        self.loc: torch.Tensor
        self.register_buffer("loc", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> dist.Distribution:
        bijections = [layer.bijection([], None).inv for layer in self.layers]
        base = dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(1)
        return distributions.Flow(base, bijections)
