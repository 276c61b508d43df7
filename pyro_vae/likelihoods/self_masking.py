from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..base import Likelihood


class SelfMasking(Likelihood):
    r"""Creates :math:`p(m \mid x)`, which elements are missing, given their own values.

    .. math:: p(m_i = 1 \mid x) = \mathrm{sigmoid}(a_i (x_i - c_i))

    Beside :class:`MissingAtRandom`, as an observed site that is given `x`, it is a model of data
    whose holes depend on what is missing; its importance weighted bound is that of not-MIWAE. The
    data tell `m` by their holes: it need not be passed.

    References:
        | not-MIWAE: Deep Generative Modelling with Missing not at Random Data
        | (Ipsen et al., 2021), Sec. 2 and Eq. 12
        | https://arxiv.org/abs/2006.12871

    Arguments:
        shape: The shape of `x`, each element of which has a slope and a centre.
        slope: Where the slopes :math:`a` start; their signs say which values hide.
        centre: Where the centres :math:`c` start.

    Example:
        >>> import pyro_vae as pv
        >>> likelihood = pv.Sites(
        ...     x=pv.likelihoods.MissingAtRandom(pv.likelihoods.Gaussian(pv.nn.MLP(2, [16], 5))),
        ...     m=pv.likelihoods.SelfMasking([5]).given("x"),
        ... )
    """

    support = constraints.boolean
    tells_holes = True
    shift: Tensor | None
    unit: Tensor | None

    def __init__(
        self, shape: Sequence[int], slope: Tensor | float = 1.0, centre: Tensor | float = 0.0
    ) -> None:
        nn.Module.__init__(self)  # no decoder
        self.event_dim = len(shape)
        start = torch.ones(*shape)
        self.slope, self.centre = nn.Parameter(slope * start), nn.Parameter(centre * start)
        self.register_buffer("shift", None)
        self.register_buffer("unit", None)

    def standardize(self, shift: Tensor, unit: Tensor) -> None:
        r"""Sets the units of slopes and centres: those of `(x - shift) / unit`."""
        self.shift, self.unit = shift.clone(), unit.clone()

    def forward(self, x: Tensor) -> dist.Distribution:
        if self.shift is not None and self.unit is not None:
            x = (x - self.shift) / self.unit
        logits = self.slope * (x - self.centre)
        return dist.Bernoulli(logits=logits).to_event(self.event_dim)
