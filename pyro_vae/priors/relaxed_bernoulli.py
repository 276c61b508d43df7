import pyro.distributions as dist
import torch
from torch import nn
from torch.distributions import constraints

from ..base import Prior
from ..counted import Positive, counted
from ..distributions import IndependentBernoulli


class RelaxedBernoulli(Prior):
    r"""Creates a relaxation of the prior :class:`Bernoulli` to numbers between 0 and 1.

    In evaluation mode it is the Bernoulli itself.

    References:
        | The Concrete Distribution (Maddison et al., 2017), Sec. 3.2 and App. B
        | https://arxiv.org/abs/1611.00712

    Arguments:
        latent_dim: The number of latent features.
        temperature: The temperature :math:`\lambda`, where it starts.
        learned: Whether the logits are parameters; they start at zero.
    """

    formula = "p(z): Bernoulli features relaxed to [0, 1]"
    advice = "trains bits by reparameterization; evaluated as bits"

    support = constraints.unit_interval

    @counted
    def __init__(
        self, latent_dim: int, temperature: Positive = 0.5, learned: bool = False
    ) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(latent_dim), requires_grad=learned)
        self.temperature: torch.Tensor
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self) -> dist.Distribution:
        if not self.training:
            return IndependentBernoulli(self.logits)
        return dist.RelaxedBernoulli(self.temperature, logits=self.logits).to_event(1)
