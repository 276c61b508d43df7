from math import expm1, log

import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..counted import Positive, counted
from ..distributions import halves


class CommittedRateNormal(Posterior):
    r"""Creates a diagonal Normal whose KL to :math:`\mathcal{N}(0, I)` is at least a given rate.

    .. math:: \sigma \in (\sigma_l, \sigma_u), \quad
        \mu^2 \geq 2 \delta + 1 + \log \sigma^2 - \sigma^2

    With the standard Normal prior this is a delta-VAE: no latent feature can collapse.

    References:
        | Preventing Posterior Collapse with delta-VAEs (Razavi et al., 2019), Sec. 2.2
        | https://arxiv.org/abs/1901.03416

    Arguments:
        encoder: Maps :math:`x` to numbers that give :math:`\mu` and :math:`\sigma`, of shape
            `(*batch, 2 * latent_dim)`.
        rate: The rate :math:`\delta > 0`, in nats for each latent feature.
    """

    formula = (
        "q(z | x) = N(z; mu(x), diag sigma^2(x)) with KL to N(0, I) of at least rate * latent_dim"
    )
    advice = "a delta-VAE: no feature can collapse; with the standard-normal prior"

    @counted
    def __init__(self, encoder: nn.Module, rate: Positive = 0.1) -> None:
        super().__init__(encoder)
        self.rate = rate
        self.low, self.high = rate_roots(rate)

    def forward(self, x: Tensor) -> dist.Distribution:
        shift, gate = halves(self.encoder(x), -1)
        scale = self.low + (self.high - self.low) * gate.sigmoid()
        least = 2 * self.rate + 1 + 2 * scale.log() - scale.square()
        distance = least.clamp(min=1e-12).sqrt() + nn.functional.softplus(shift)
        return dist.Normal(distance, scale).to_event(1)


def rate_roots(rate: float) -> tuple[float, float]:
    r"""The two scales whose KL at mean zero is `rate`, by Newton's method on logarithms."""
    roots = []
    for t in (-rate - 1.0, 0.5 * log(2 * rate + 1) + 0.5):  # both outside: it falls inwards
        for _ in range(60):
            t -= (expm1(2 * t) / 2 - t - rate) / expm1(2 * t)
        roots.append(2.718281828459045**t)
    return roots[0], roots[1]
