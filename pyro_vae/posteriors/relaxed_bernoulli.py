import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import Posterior
from ..counted import Positive, counted
from ..distributions import IndependentBernoulli, StraightThrough


class RelaxedBernoulli(Posterior):
    r"""Creates a relaxation of the posterior :class:`Bernoulli` to numbers between 0 and 1.

    It trains on a relaxed bound. Straight through, samples are bits with the relaxation's
    gradient, under the prior of bits. In evaluation mode it is the Bernoulli itself.

    References:
        | The Concrete Distribution (Maddison et al., 2017), App. B
        | https://arxiv.org/abs/1611.00712

    Arguments:
        encoder: Maps :math:`x` to logits, of shape `(*batch, latent_dim)`.
        temperature: The temperature :math:`\lambda`, where it starts.
        straight_through: Whether samples are rounded.
    """

    formula = "q(z | x): Bernoulli features relaxed to [0, 1]; straight through, bits"
    advice = "many bits by reparameterization; straight-through gradients are biased"
    support_name = "[0, 1], or {0, 1} straight through"
    outputs_per_feature = 1

    @counted
    def __init__(
        self, encoder: nn.Module, temperature: Positive = 0.67, straight_through: bool = False
    ) -> None:
        super().__init__(encoder)
        self.straight_through = straight_through
        self.support = constraints.boolean if straight_through else constraints.unit_interval
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(temperature))

    def forward(self, x: Tensor) -> dist.Distribution:
        logits = self.encoder(x)
        if not self.training:
            return IndependentBernoulli(logits)
        relaxed = dist.RelaxedBernoulli(self.temperature, logits=logits).to_event(1)
        if not self.straight_through:
            return relaxed
        return StraightThrough(IndependentBernoulli(logits), relaxed)
