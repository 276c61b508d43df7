r"""The ELBO with a distance of the aggregate posterior from the prior."""

from typing import Literal

import torch
from torch import Tensor

from ..counted import Positive, counted
from ..programs import Sites
from .aggregate import Aggregate, Penalty
from .elbo import mean_scale


class InfoVAE(Aggregate):
    r"""Creates the ELBO minus a distance of the aggregate posterior from the prior (MMD).

    .. math::
        \mathcal{L} - \lambda' \, \mathrm{MMD}^2(q(z), p(z)), \quad
        \mathrm{MMD}^2 = \mathbb{E}\, k(z, z') + \mathbb{E}\, k(u, u') - 2 \, \mathbb{E}\, k(z, u),
        \quad k(z, u) = \exp\left(-\frac{\|z - u\|^2}{2 h^2 d}\right)

    with :math:`z, z' \sim q(z)` and :math:`u, u' \sim p(z)`, in `d` dimensions. The objective of
    the paper has :math:`1 - \alpha` before the KL term, which is ``kl_weight`` of training, and
    :math:`\lambda' = \alpha + \lambda - 1`. A KL weight of 0 is its MMD-VAE (:math:`\alpha = 1`),
    which leaves mutual information alone; with a point for :math:`q(z \mid x)` it is a Wasserstein
    autoencoder.

    The estimate leaves out pairs of a datum with itself, so that it has no bias over batches of
    independent data, and may be below zero. Of `N` data at hand it misses the pairs of two draws
    for one datum, a share of :math:`1 / N`.

    References:
        | InfoVAE: Information Maximizing Variational Autoencoders (Zhao et al., 2017), Sec. 3
        | https://arxiv.org/abs/1706.02262
        | A Kernel Two-Sample Test (Gretton et al., 2012), Eq. 3
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018), Algorithm 2

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``.
        mmd_weight: The weight :math:`\lambda'` of the squared distance.
        mmd_width: The width :math:`h` of the kernel, in units of :math:`\sqrt{d}`.
    """

    name = "info-vae"
    advice = (
        "the ELBO minus a distance of the aggregate posterior from the prior; with kl_weight 0 "
        "MMD-VAE, which keeps information"
    )
    needs = ("path", "one vector", "draws of the prior")

    @counted
    def __init__(
        self,
        num_particles: int = 1,
        kl: Literal["closed-form", "sampled"] = "sampled",
        *,
        mmd_weight: float = 100.0,
        mmd_width: Positive = 1.0,
    ) -> None:
        super().__init__(num_particles, kl)
        self.mmd_weight, self.mmd_width = mmd_weight, mmd_width

    def penalty(self, q: Sites, p: Sites, site: str) -> Tensor:
        z = q[site]["value"]
        distance = squared_mmd(z, p[site]["fn"].rsample().expand_as(z), self.mmd_width)
        scale = next(s["scale"] for s in p.values() if s["is_observed"])  # has no KL weight
        return self.mmd_weight * mean_scale(scale) * distance.mean()

    @property
    def formula(self) -> Penalty:
        return Penalty(
            f"{self.mmd_weight:g} MMD^2(q(z), p(z))",
            rf"{self.mmd_weight:g} \, \mathrm{{MMD}}^2(q(z), p(z))",
            "MMD^2 = E k(z, z') + E k(u, u') - 2 E k(z, u) of z, z' ~ q(z) and u, u' ~ p(z), with "
            f"k(z, u) = exp(-|z - u|^2 / (2 h^2 d)), h = {self.mmd_width:g}, in d dimensions.",
        )


def squared_mmd(z: Tensor, u: Tensor, width: float = 1.0) -> Tensor:
    r"""Estimates the squared maximum mean discrepancy of two laws, without bias.

    Arguments:
        z: Independent samples of one, of shape `(*K, B, d)`.
        u: Samples of the other, of the same shape.
        width: The width of the Gaussian kernel, in units of :math:`\sqrt{d}`.

    Returns:
        The estimates, of shape `(*K,)`.
    """
    size, dim = z.shape[-2:]
    apart = 1 - torch.eye(size, dtype=z.dtype, device=z.device)
    pairs = max(1, size * (size - 1))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)
        return (squares / (-2 * width**2 * dim)).exp()

    within = ((kernel(z, z) + kernel(u, u)) * apart).sum((-1, -2)) / pairs
    return within - 2 * kernel(z, u).mean((-1, -2))
