import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from ..base import Prior
from ..counted import counted
from ..distributions import IndependentBernoulli


class Bernoulli(Prior):
    r"""Creates the prior :math:`p(z) = \prod_l \mathrm{Bernoulli}(z_l; f_l)` of bits.

    References:
        | Neural Variational Inference and Learning in Belief Networks (Mnih & Gregor, 2014)
        | https://arxiv.org/abs/1402.0030

    Arguments:
        latent_dim: The number of bits.
        learned: Whether the logits are parameters; they start at zero, probability 1/2.
    """

    formula = "p(z) = prod_l Bernoulli(z_l; p_l)"
    advice = "for features that are on or off; exact by enumeration up to 12"

    support = constraints.boolean

    @counted
    def __init__(self, latent_dim: int, learned: bool = False) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=learned)

    def forward(self) -> dist.Distribution:
        return IndependentBernoulli(self.logits)
