from math import log

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..counted import Positive, counted
from ..distributions import scale_of
from .location_scale import LocationScale


class Laplace(LocationScale):
    r"""Creates the likelihood :math:`\prod_i \frac{1}{2b} e^{-|x_i - f_i(z)| / b}`.

    Absolute error is this density in disguise.

    Arguments:
        decoder: Maps :math:`z` to :math:`f`, of shape `(*batch, *x_shape)`.
        scale: Where the scale :math:`b` starts, one learned number.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i Laplace(x_i; f_i(z), b), b learned"
    advice = "for real numbers with heavy tails: absolute error"

    @counted
    def __init__(self, decoder: nn.Module, scale: Positive = 1.0, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))

    def forward(self, z: Tensor) -> dist.Distribution:
        loc, scale = self.in_units_of_x(self.decode(z), scale_of(self.log_scale))
        return dist.Laplace(loc, scale).to_event(self.event_dim)
