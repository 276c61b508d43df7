r"""Continuous relaxations of discrete features."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, register_kl
from torch.distributions.constraints import Constraint
from torch.distributions.kl import kl_divergence

from .discrete import IndependentBernoulli, OneHots


class RelaxedOneHots(dist.TorchDistribution):
    r"""Creates the relaxation of :class:`OneHots` to points of the simplex, laid end to end.

    References:
        | The Concrete Distribution (Maddison et al., 2017), Eq. 10
        | https://arxiv.org/abs/1611.00712

    Arguments:
        temperature: The temperature, a 0-dim tensor; towards 0 the blocks become one-hot.
        logits: The logits, of shape `(*batch, N * K)`.
        num_categories: The number `K`.
    """

    arg_constraints = {"logits": constraints.real_vector}
    support = constraints.independent(constraints.unit_interval, 1)
    has_rsample = True

    def __init__(self, temperature: Tensor, logits: Tensor, num_categories: int) -> None:
        self.num_categories = num_categories
        self.blocks = dist.RelaxedOneHotCategorical(
            temperature, logits=logits.unflatten(-1, (-1, num_categories)), validate_args=False
        )
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "RelaxedOneHots":
        logits = self.blocks.logits.flatten(-2).expand(*torch.Size(batch_shape), -1)
        return RelaxedOneHots(self.blocks.temperature, logits, self.num_categories)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        z = self.blocks.rsample(sample_shape).flatten(-2)
        return z.clamp(min=torch.finfo(z.dtype).tiny)  # the density needs log z

    def log_prob(self, value: Tensor) -> Tensor:
        return self.blocks.log_prob(value.unflatten(-1, (-1, self.num_categories))).sum(-1)


class StraightThrough(dist.TorchDistribution):
    r"""Creates a discrete distribution whose samples carry the gradient of a relaxed one.

    Samples are those of `discrete` exactly: the relaxed sample, rounded. Their gradient is that
    of the relaxed sample, which makes the gradient of a bound biased.

    References:
        | Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017), Sec. 2.2
        | https://arxiv.org/abs/1611.01144

    Arguments:
        discrete: An :class:`IndependentBernoulli` or :class:`OneHots`.
        relaxed: Its relaxation.
    """

    arg_constraints: dict[str, Constraint] = {}
    has_rsample = True

    def __init__(self, discrete: Any, relaxed: Any) -> None:
        self.discrete, self.relaxed = discrete, relaxed
        super().__init__(discrete.batch_shape, discrete.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "StraightThrough":
        return StraightThrough(self.discrete.expand(batch_shape), self.relaxed.expand(batch_shape))

    @property
    def support(self) -> Constraint:
        return self.discrete.support

    @property
    def mean(self) -> Tensor:
        return self.discrete.mean

    @property
    def variance(self) -> Tensor:
        return self.discrete.variance

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        soft = self.relaxed.rsample(sample_shape)
        if isinstance(self.discrete, OneHots):
            blocks = soft.detach().unflatten(-1, (-1, self.discrete.num_categories))
            places = blocks.argmax(-1, keepdim=True)
            hard = torch.zeros_like(blocks).scatter_(-1, places, 1.0).flatten(-2)
        else:
            hard = (soft.detach() > 0.5).to(soft.dtype)
        return hard + (soft - soft.detach())

    def log_prob(self, value: Tensor) -> Tensor:
        return self.discrete.log_prob(value)


@register_kl(StraightThrough, OneHots)
@register_kl(StraightThrough, IndependentBernoulli)
def _kl(q: StraightThrough, p: Any) -> Tensor:
    return kl_divergence(q.discrete, p)
