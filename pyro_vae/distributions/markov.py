r"""A chain of Normal vectors as one distribution over sequences."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints


class Markov(dist.TorchDistribution):
    r"""Creates :math:`\prod_t \mathcal{N}(z_t; \mu(z_{t-1}, c_t), \mathrm{diag}\,\sigma^2)`.

    Its density of a given sequence takes one call of the cell for all steps; a draw takes `T`.

    Arguments:
        cell: Maps :math:`z_{t-1}`, of shape `(*batch, L)`, and what else is known of a step to
            location and scale, each of shape `(*batch, L)`.
        start: :math:`z_0`, of shape `(L,)`.
        steps: The number `T` of steps.
        context: Tensors of shape `(*batch, T, C)`, whose step `t` the cell takes.
        batch_shape: The batch shape.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True
    support = constraints.independent(constraints.real, 2)

    def __init__(
        self,
        cell: Callable[..., tuple[Tensor, Tensor]],
        start: Tensor,
        steps: int,
        context: tuple[Tensor, ...] = (),
        batch_shape: Any = (),
    ) -> None:
        self.cell, self.start, self.context, self.steps = cell, start, context, steps
        event = torch.Size((steps, len(start)))
        super().__init__(torch.Size(batch_shape), event, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Markov":
        return Markov(self.cell, self.start, self.steps, self.context, batch_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        noise = torch.randn_like(self.start.expand(*shape, *self.event_shape))
        z, drawn = self.start.expand(*shape, -1), []
        for e, *context in zip(*(of.unbind(-2) for of in (noise, *self.context))):
            loc, scale = self.cell(z, *context)
            z = loc + scale * e
            drawn.append(z)
        return torch.stack(drawn, -2)

    def log_prob(self, value: Tensor) -> Tensor:
        first = self.start.expand(*value.shape[:-2], 1, -1)
        loc, scale = self.cell(torch.cat([first, value[..., :-1, :]], -2), *self.context)
        return dist.Normal(loc, scale).log_prob(value).sum((-2, -1))

    @property
    def mean(self) -> Tensor:
        r"""The path of means: the mean where the cell is linear, a summary elsewhere."""
        return self._path[0]

    @property
    def variance(self) -> Tensor:
        r"""Along that path, each step given the one before."""
        return self._path[1].square()

    @cached_property
    def _path(self) -> tuple[Tensor, Tensor]:
        z, locs, scales = self.start.expand(*self.batch_shape, -1), [], []
        for t in range(self.steps):
            z, scale = self.cell(z, *(c[..., t, :] for c in self.context))
            locs.append(z)
            scales.append(scale.expand(z.shape))
        return torch.stack(locs, -2), torch.stack(scales, -2)
