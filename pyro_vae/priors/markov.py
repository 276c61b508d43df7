import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .. import distributions
from ..base import Prior
from ..counted import counted
from ..distributions import halves, scale_of


class Markov(Prior):
    r"""Creates :math:`p(z) = \prod_t \mathcal{N}(z_t; \mu(z_{t-1}), \mathrm{diag}\,
    \sigma^2(z_{t-1}))`, one latent variable of shape `(T, L)`; :math:`z_0` is learned.

    References:
        | Structured Inference Networks for Nonlinear State Space Models
        | (Krishnan et al., 2017), Eq. 1
        | https://arxiv.org/abs/1609.09869

    Arguments:
        transition: Maps :math:`z_{t-1}` to :math:`\mu` and :math:`\log \sigma`, of shape
            `(*batch, 2 L)`.
        latent_dim: The number `L` of latent features of a step.
        num_steps: The number `T` of steps of sequences that it draws; under data it has theirs.
    """

    sequential = True

    @counted
    def __init__(self, transition: nn.Module, latent_dim: int, num_steps: int) -> None:
        super().__init__()
        self.transition, self.num_steps = transition, num_steps
        self.start = nn.Parameter(torch.zeros(latent_dim))

    def cell(self, previous: Tensor) -> tuple[Tensor, Tensor]:
        r"""Location and scale of a step, given the one before."""
        loc, log_scale = halves(self.transition(previous), -1)
        return loc, scale_of(log_scale)

    def forward(self, num_steps: int | None = None) -> dist.Distribution:
        r"""
        Arguments:
            num_steps: The number of steps; by default the prior's own.
        """
        return distributions.Markov(self.cell, self.start, num_steps or self.num_steps)
