r"""A flow over the data themselves: an exact density, and no latent variable to integrate."""

from collections.abc import Mapping, Sequence
from math import log, prod
from typing import ClassVar, Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints, transforms

from .. import flows
from ..counted import Positive, Size, counted
from ..distributions import Flow
from ..transforms import GatedAffine, Spline
from .base import Density, Relative

EDGE = 1e-6  # the unit interval ends so far from 0 and 1, for the logit


class NormalizingFlow(Relative):
    r"""Creates a flow, :math:`x = f^{-1}(\epsilon), \; \epsilon \sim \mathcal{N}(0, I)`.

    .. math:: \log p(x) = \log \mathcal{N}(f(x); 0, I) + \log |\det \partial f / \partial x|

    :math:`f` is a learned affine map of each element, then autoregressive layers whose orders
    alternate. Levels are spread over the unit interval by uniform noise, then drawn out by the
    logit; :math:`\mathbb{E}_u \log p(x + u)` is less than :math:`\log P(x)`.

    References:
        | Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017), Eq. 4
        | https://arxiv.org/abs/1705.07057
        | A Note on the Evaluation of Generative Models (Theis et al., 2016), Sec. 3.1, of noise
        | https://arxiv.org/abs/1511.01844

    Arguments:
        x_shape: The shape of one datum.
        num_transforms: The number of autoregressive layers.
        hidden_features: The hidden layers of each network.
        transform: ``"spline"`` or ``"affine"``, of single elements.
        num_bins: The number of pieces of a spline.
        num_levels: The number of levels :math:`0 \ldots n - 1` of discrete data; None for reals.
        x_scale: What real `x` is divided by.
        x_mean: What is subtracted of real `x` first, of shape `x_shape`.
    """

    formula = "x = f^-1(e), e ~ N(0, I), through learned autoregressive maps"
    advice = "for an exact density of real numbers; sampling takes a pass for each element"
    density: Density = "exact"
    lacks: ClassVar[Mapping[str, str]] = {
        "encode": "f(x) is as large as x, and says all of it",
        "reconstruct": "f(x) says all of x, so that what comes back is x",
    }

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_transforms: int = 4,
        hidden_features: Sequence[int] = (100, 100),
        transform: Literal["spline", "affine"] = "spline",
        num_bins: int = 8,
        num_levels: Size | None = None,
        x_scale: Positive = 1.0,
        x_mean: Tensor | None = None,
    ) -> None:
        super().__init__(x_shape)
        self.num_levels, self.x_scale = num_levels, x_scale
        if num_levels is not None:
            self.density = "lower bound"
            self.support = constraints.integer_interval(0, num_levels - 1)
        size = prod(self.x_shape)
        element = Spline(num_bins) if transform == "spline" else GatedAffine()
        self.layers = [
            flows.Autoregressive(size, hidden_features, 0, element, reverse=i % 2 == 1)
            for i in range(num_transforms)
        ]
        self.nets = nn.ModuleList(layer.net for layer in self.layers)
        self.shift = nn.Parameter(torch.zeros(size))
        self.log_scale = nn.Parameter(torch.zeros(size))
        if x_mean is not None and num_levels is None:
            self.shift.data = x_mean.flatten().to(self.shift.dtype) / x_scale

    def law(self) -> dist.Distribution:
        r"""The distribution of `x`, or of the logit of levels with noise, as a vector."""
        affine = transforms.AffineTransform(self.shift, self.log_scale.exp(), event_dim=1)
        bijections = [layer.bijection([], None).inv for layer in self.layers[::-1]]
        base = dist.Normal(torch.zeros_like(self.shift), torch.ones_like(self.shift))
        return Flow(base.to_event(1), [*bijections, affine])

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.num_levels is None:
            return self.law().log_prob(x / self.x_scale) - x.shape[1] * log(self.x_scale)
        u = ((x + torch.rand_like(x)) / self.num_levels).clamp(EDGE, 1 - EDGE)
        volume = -(u.log() + (-u).log1p()) - log(self.num_levels)
        return self.law().log_prob(u.logit()) + volume.sum(1)

    def sample(self, num_samples: int) -> Tensor:
        with torch.no_grad():
            y = self.law().sample((num_samples,))
        if self.num_levels is None:
            x = y * self.x_scale
        else:
            x = (y.sigmoid() * self.num_levels).floor().clamp(max=self.num_levels - 1)
        return x.reshape(-1, *self.x_shape)
