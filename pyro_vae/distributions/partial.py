r"""Elements that may be missing: the density of what is there, and that of the rest."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from .support import any_value


class Partial(dist.TorchDistribution):
    r"""Creates the density of what is there: elements that are NaN are integrated out.

    Arguments:
        base: A distribution of independent elements, made by ``to_event``.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base: Any) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Partial":
        return Partial(self.base.expand(torch.Size(batch_shape)))

    @property
    def support(self) -> Any:
        return self.base.support

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def variance(self) -> Tensor:
        return self.base.variance

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.base.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        there, law = ~value.isnan(), elements(self.base)
        filled = torch.where(there, value, any_value(self.base.support, value))
        parts = torch.where(there, law.log_prob(filled), 0.0)
        return parts.flatten(-len(self.event_shape)).sum(-1)

    def rest(self, x: Tensor) -> "Rest":
        r"""The distribution of what `x` misses."""
        return Rest(self, x.isnan())


class Rest(dist.TorchDistribution):
    r"""Creates the density of missing elements; those that are there have standard Normals in
    their places, which are ignored.

    It is proper everywhere, so that chains can move, and model and guide draw it in the same way,
    so that it cancels in every bound.

    Arguments:
        partial: The distribution of all elements.
        holes: Which are missing, of shape `(B, *event_shape)`.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(self, partial: Partial, holes: Tensor) -> None:
        if not partial.base.has_rsample:
            raise ValueError(
                "Expected a likelihood of real numbers for holes that another site is given, "
                f"through which gradients flow; got {type(elements(partial.base)).__name__}."
            )
        self.partial, self.holes = partial, holes
        around = holes.shape[: holes.dim() - len(partial.event_shape)]
        batch = torch.broadcast_shapes(partial.batch_shape, around)
        super().__init__(batch, partial.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Rest":
        return Rest(self.partial.expand(torch.Size(batch_shape)), self.holes)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        own = self.partial.base.rsample(sample_shape)
        return torch.where(self.holes, own, torch.randn_like(own))

    def log_prob(self, value: Tensor) -> Tensor:
        own = elements(self.partial.base).log_prob(value)
        other = dist.Normal(torch.zeros_like(value), 1.0).log_prob(value)
        return torch.where(self.holes, own, other).flatten(-len(self.event_shape)).sum(-1)


def elements(law: Any) -> Any:
    r"""The distribution of each element of independent ones."""
    if isinstance(law, dist.ExpandedDistribution):
        return elements(law.base_dist).expand(law.batch_shape + law.event_shape)
    if not isinstance(law, torch.distributions.Independent):
        raise ValueError(
            "Expected a likelihood of independent elements, of which any may be missing; got "
            f"{type(law).__name__}."
        )
    return law.base_dist
