r"""Elements in an order, each given those before it, as one distribution."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from tqdm import tqdm

from .discrete import Levels

PATIENCE = 2.0  # seconds before a bar is shown


def levels_of(logits: Tensor) -> Any:
    r"""The law of an element on levels, from the logits of :math:`1 \ldots n - 1` against 0."""
    if logits.shape[-1] == 1:
        return dist.Bernoulli(logits=logits[..., 0], validate_args=False)
    return Levels(torch.nn.functional.pad(logits, (1, 0)))


class Autoregressive(dist.TorchDistribution):
    r"""Creates :math:`\prod_i p(x_i \mid x_{<i}, c)`, by default over levels
    :math:`0 \ldots n - 1`.

    The density takes one call of the network for all elements, a sample as many as there are
    elements.

    Arguments:
        logits: A network that maps `x`, of shape `(*batch, *event)`, and `c` to the numbers that
            the law of an element has, of shape `(*batch, *event, m)`; of each element from those
            before it alone. By default they are the logits of the levels
            :math:`1 \ldots n - 1` against level 0.
        context: What the elements are given, :math:`c`, of shape `(*batch, *event, m)`.
        event_dim: The number of dimensions of an event.
        order: The places of the elements in the flattened event, in their order; by default as
            they lie there.
        law: Makes the law of elements of such numbers.

    Example:
        >>> law = Autoregressive(lambda x, c: c.expand(*x.shape, 2), torch.zeros(4, 6, 2))
        >>> law.sample((3,)).shape, law.mean[0, 0]
        (torch.Size([3, 4, 6]), tensor(1.))
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self,
        logits: Callable[[Tensor, Tensor], Tensor],
        context: Tensor,
        event_dim: int = 1,
        order: Sequence[int] | None = None,
        law: Callable[[Tensor], Any] = levels_of,
    ) -> None:
        self.logits, self.context, self.order, self.law = logits, context, order, law
        shape = context.shape[:-1]
        batch, event = shape[: len(shape) - event_dim], shape[len(shape) - event_dim :]
        super().__init__(batch, event, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Autoregressive":
        context = self.context.expand(*torch.Size(batch_shape), *self.event_shape, -1)
        return Autoregressive(self.logits, context, len(self.event_shape), self.order, self.law)

    @property
    def support(self) -> Any:
        return constraints.independent(self.law(self.context).support, len(self.event_shape))

    def given(self, x: Tensor) -> Any:
        r"""The distributions of all elements, each given those of `x` before it.

        Arguments:
            x: Data of shape `(*batch, *event)`.
        """
        return self.law(self.logits(x, self.context))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.given(value).log_prob(value).flatten(-len(self.event_shape)).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        with torch.no_grad():
            return self._walk(torch.Size(sample_shape), lambda law: law.sample())

    @property
    def mean(self) -> Tensor:
        r"""The path of means, each element's given the *means* of those before it: the mean where
        elements do not depend on each other, a summary elsewhere. It takes a pass for each."""
        return self._path

    @property
    def variance(self) -> Tensor:
        r"""Along that path, of each element given the means of those before it."""
        return self.given(self._path).variance

    @cached_property
    def _path(self) -> Tensor:
        return self._walk(torch.Size(), lambda law: law.mean)

    def _walk(self, sample_shape: torch.Size, take: Callable[[Any], Tensor]) -> Tensor:
        r"""Fills element after element with what is taken of its distribution."""
        shape, size = sample_shape + self.batch_shape, self.event_shape.numel()
        found = self.context.new_zeros(*shape, size)
        order = self.order or range(size)
        for i in tqdm(order, "elements", leave=False, delay=PATIENCE, disable=None):
            step = take(self.given(found.reshape(*shape, *self.event_shape)))
            here = torch.arange(size, device=found.device) == i
            found = torch.where(here, step.reshape(*shape, size), found)
        return found.reshape(*shape, *self.event_shape)
