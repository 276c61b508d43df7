r"""The ELBO with a weight on the total correlation, by a discriminator."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import softplus

from ..counted import counted
from ..nn import MLP
from ..programs import Sites
from .aggregate import Aggregate, Penalty
from .decomposition import CORRELATION, CORRELATION_LATEX
from .elbo import mean_scale


class FactorVAE(Aggregate):
    r"""Creates the ELBO minus the total correlation, as a discriminator sees it.

    .. math::
        \mathcal{L} - \gamma \, \mathrm{KL}(q(z) \,\|\, \prod_j q(z_j)), \quad
        \mathrm{KL} \approx \mathbb{E}_{q(z)} [\log D(z) - \log (1 - D(z))]

    The discriminator `D` learns to tell samples of :math:`q(z)` from those of
    :math:`\prod_j q(z_j)`, which are the same batch with each feature in an order of its own. It
    is right only as far as it has learned: the estimate is too low where `D` is behind. No density
    is needed, so that any reparameterized posterior will do, also a flow.

    The discriminator is trained in the same step as the model, by the same optimizer. Adam keeps
    its moments by parameter, so this is an optimizer for each of the two networks, of one learning
    rate, one schedule and one `clip_norm`; Algorithm 2 of the paper takes them in turn, each on a
    batch of its own.

    References:
        | Disentangling by Factorising (Kim & Mnih, 2018), Eq. 2 and 3, Algorithms 1 and 2
        | https://arxiv.org/abs/1802.05983

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``.
        tc_weight: The weight of the total correlation in all, :math:`1 + \gamma`; 1 is the ELBO.
        latent_dim: The number of latent features.
        hidden_features: The sizes of the hidden layers of `D`.
    """

    name = "factor-vae"
    advice = "as beta-tcvae, by a discriminator: for posteriors whose features are not independent"
    needs = ("path", "one vector")

    @counted
    def __init__(
        self,
        num_particles: int = 1,
        kl: Literal["closed-form", "sampled"] = "sampled",
        *,
        tc_weight: float = 6.0,
        latent_dim: int,
        hidden_features: Sequence[int] = (200, 200, 200),
    ) -> None:
        super().__init__(num_particles, kl)
        self.tc_weight = tc_weight
        self.discriminator = MLP(latent_dim, hidden_features, 1, "LeakyReLU", "kaiming")

    def penalty(self, q: Sites, p: Sites, site: str) -> Tensor:
        r"""The penalty; its gradient also trains the discriminator, at no cost in the value."""
        z = q[site]["value"]
        frozen = {n: w.detach() for n, w in self.discriminator.named_parameters()}
        correlation = functional_call(self.discriminator, frozen, (z,)).mean()
        true, mixed = (self.discriminator(some) for some in (z.detach(), shuffled(z.detach())))
        error = (softplus(-true) + softplus(mixed)).mean() / 2
        scale = mean_scale(p[site]["scale"])
        return scale * (self.tc_weight - 1) * correlation + error - error.detach()

    @property
    def formula(self) -> Penalty:
        extra = self.tc_weight - 1
        return Penalty(
            f"{extra:g} {CORRELATION}",
            f"{extra:g} {CORRELATION_LATEX}",
            f"{CORRELATION} is E log D(z) / (1 - D(z)), with a discriminator D trained beside.",
        )


def shuffled(z: Tensor) -> Tensor:
    r"""Returns samples of shape `(*K, B, d)` with each feature in an order of its own over `B`."""
    return z.gather(-2, torch.rand_like(z).argsort(-2))
