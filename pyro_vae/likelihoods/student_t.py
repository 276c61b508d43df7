from math import log

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .. import distributions
from ..counted import Positive, counted
from ..distributions import scale_of
from .location_scale import LocationScale


class StudentT(LocationScale):
    r"""Creates the likelihood :math:`\prod_i t_\nu(x_i; f_i(z), \sigma)` of data with outliers.

    .. math:: t_\nu(x; f, \sigma) \propto
        \frac{1}{\sigma} \left(1 + \frac{(x - f)^2}{\nu \sigma^2}\right)^{-(\nu + 1) / 2}

    References:
        | Student-t Variational Autoencoder for Robust Density Estimation (Takahashi et al., 2018)
        | https://www.ijcai.org/proceedings/2018/374

    Arguments:
        decoder: Maps :math:`z` to :math:`f`, of shape `(*batch, *x_shape)`.
        df: Where the degrees of freedom :math:`\nu` start, one learned number.
        scale: Where the scale :math:`\sigma` starts, one learned number.
        event_dim: The number of dimensions of one datum.
    """

    formula = "p(x | z) = prod_i t_nu(x_i; f_i(z), sigma), nu and sigma learned"
    advice = "for real numbers with outliers"

    @counted
    def __init__(
        self, decoder: nn.Module, df: Positive = 4.0, scale: Positive = 1.0, event_dim: int = 1
    ) -> None:
        super().__init__(decoder, event_dim)
        self.log_df = nn.Parameter(torch.tensor(log(df)))
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))

    def forward(self, z: Tensor) -> dist.Distribution:
        df = self.log_df.clamp(-5.0, 20.0).exp()
        loc, scale = self.in_units_of_x(self.decode(z), scale_of(self.log_scale))
        return distributions.StudentT(df, loc, scale).to_event(self.event_dim)
