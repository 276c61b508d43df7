from collections.abc import Sequence
from math import log
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..counted import Positive, counted
from ..distributions import halves, scale_of
from .location_scale import LocationScale
from .per_column import shape_of


class Gaussian(LocationScale):
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
            output of the decoder; ``"per-column"`` is one learned number for each element of x,
            the same for all z; ``"optimal"`` is one number that training sets to the root mean
            square of its residuals.
        scale: The given sigma, or where a learned one starts; 1 by default. Where a recipe is
            built, shared sigmas start from the standard deviation of the data by default.
        event_dim: The number of dimensions of one datum.
        x_shape: The shape of one datum, for a sigma per column; by default that of the decoder's
            output, where it says one.

    Each sigma is kept within :math:`[4 \cdot 10^{-11}, 2 \cdot 10^{17}]`.
    """

    formula = "p(x | z) = prod_i N(x_i; f_i(z), sigma^2)"
    advice = "for real numbers; learn sigma, which squared error fixes"

    @counted
    def __init__(
        self,
        decoder: nn.Module,
        sigma: Literal["shared", "fixed", "per-element", "per-column", "optimal"] = "shared",
        scale: Positive | None = None,
        event_dim: int = 1,
        x_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(decoder, event_dim)
        self.sigma = sigma
        shape = shape_of(decoder, x_shape, "a sigma") if sigma == "per-column" else ()
        start = torch.full(shape, log(1.0 if scale is None else scale))
        learned = sigma in ("shared", "per-column")
        self.log_scale = nn.Parameter(start, requires_grad=learned)

    @staticmethod
    def num_outputs(sigma: str = "shared", **others: Any) -> int:
        return 2 if sigma == "per-element" else 1

    def forward(self, z: Tensor) -> dist.Distribution:
        loc: Tensor = self.decode(z)
        log_scale: Tensor = self.log_scale
        if self.sigma == "per-element":
            loc, log_scale = halves(loc, -self.event_dim)
        loc, scale = self.in_units_of_x(loc, scale_of(log_scale))
        return dist.Normal(loc, scale).to_event(self.event_dim)
