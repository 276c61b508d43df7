from math import log
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Likelihood


class Gaussian(Likelihood):
    r"""Creates the likelihood :math:`p(x \mid z) = \mathcal{N}(x; f(z), \mathrm{diag}\,\sigma^2)`.

    Squared error is this density in disguise: its sum over a datum has
    :math:`\sigma^2 = \frac{1}{2}`, its mean over `D` elements :math:`\sigma^2 = \frac{D}{2}`.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), App. C.2
        | https://arxiv.org/abs/1312.6114
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021)
        | https://arxiv.org/abs/2006.13202

    Arguments:
        decoder: Maps :math:`z` to :math:`f`, of shape `(*batch, *x_shape)`; with a sigma per
            element to :math:`f` and :math:`\log \sigma`, joined in the first of these dimensions.
        sigma: ``"shared"`` is one learned number, ``"fixed"`` the given one, ``"per-element"`` an
            output of the decoder; ``"optimal"`` is one number that training sets to the root mean
            square of its residuals (:class:`pyro_vae.objectives.track_sigma`).
        scale: The given sigma, or where a shared one starts.
        event_dim: The number of dimensions of one datum.
    """

    def __init__(
        self,
        decoder: nn.Module,
        sigma: Literal["shared", "fixed", "per-element", "optimal"] = "shared",
        scale: float = 1.0,
        event_dim: int = 1,
    ) -> None:
        super().__init__(decoder, event_dim)
        self.sigma = sigma
        self.log_scale = nn.Parameter(torch.tensor(log(scale)), requires_grad=sigma == "shared")

    def forward(self, z: Tensor) -> dist.Distribution:
        loc, log_scale = self.decoder(z), self.log_scale
        if self.sigma == "per-element":
            loc, log_scale = loc.chunk(2, dim=-self.event_dim)
        return dist.Normal(loc, log_scale.exp()).to_event(self.event_dim)
