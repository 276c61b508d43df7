from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood


class DiscretizedLogistic(Likelihood):
    r"""Creates a mixture of logistic densities in bins, the likelihood of grey levels.

    .. math:: p(x_i \mid z) = \sum_m \pi_m
        \left[\sigma\!\left(\tfrac{x_i + 1/2 - \mu_m}{s_m}\right)
        - \sigma\!\left(\tfrac{x_i - 1/2 - \mu_m}{s_m}\right)\right]

    The first and the last bin keep the tails. Unlike :class:`Categorical`, it knows that
    levels are ordered.

    References:
        | PixelCNN++ (Salimans et al., 2017), Eq. 2
        | https://arxiv.org/abs/1701.05517
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
          App. C.4

    Arguments:
        decoder: Maps :math:`z` to locations, log scales and, if there are several components,
            their logits, joined in the first dimension of `x_shape`.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`.
        num_components: The number of components; 1 is the plain discretized logistic.
        event_dim: The number of dimensions of one datum.
    """

    formula = (
        "p(x | z) = prod_i sum_m pi_m [S((x_i + 1/2 - mu_m) / s_m) - S((x_i - 1/2 - mu_m) / s_m)]"
    )
    advice = "for grey levels of photographs"
    support_name = "{0, ..., n}"

    def __init__(
        self,
        decoder: nn.Module,
        num_levels: int = 256,
        num_components: int = 1,
        event_dim: int = 1,
    ) -> None:
        super().__init__(decoder, event_dim)
        self.num_levels, self.num_components = num_levels, num_components
        self.support = constraints.integer_interval(0, num_levels - 1)

    @staticmethod
    def num_outputs(num_components: int = 1, **others: Any) -> int:
        return 2 if num_components == 1 else 3 * num_components

    def outputs_at(self, mean: Tensor) -> Tensor:
        return (2 * mean / (self.num_levels - 1) - 1).repeat(self.num_components)

    def outputs_of(self, z: Tensor) -> Tensor:
        r"""The decoder's outputs for each element, of shape `(*batch, *x_shape, k)`."""
        count = self.num_outputs(num_components=self.num_components)
        outputs = self.decode(z).unflatten(-self.event_dim, (count, -1))
        return outputs.movedim(-self.event_dim - 1, -1)

    def law_of(self, outputs: Tensor) -> distributions.DiscretizedLogistic:
        r"""The laws of elements, from outputs of shape `(*batch, *x_shape, k)`."""
        parts = outputs.unflatten(-1, (-1, self.num_components)).unbind(-2)
        loc, log_scale = parts[0], parts[1].clamp(min=-7.0) - 1.0
        logits = parts[2] if len(parts) == 3 else loc.new_zeros(()).expand_as(loc)
        return distributions.DiscretizedLogistic(logits, loc, log_scale, self.num_levels)

    def forward(self, z: Tensor) -> dist.Distribution:
        return self.law_of(self.outputs_of(z)).to_event(self.event_dim)
