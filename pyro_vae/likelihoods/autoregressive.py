from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from ..base import Likelihood
from ..distributions.scales import logit_of


class Autoregressive(Likelihood, ABC):
    r"""Abstract likelihood :math:`\prod_i p(x_i \mid x_{<i}, z)` of levels in an order.

    The logits are the decoder's, :math:`f_i(z)`, plus those of a network of the elements before
    that is given them: without this network it is :class:`Bernoulli`, or :class:`Categorical`.

    Attributes:
        order: The places of the elements in the flattened datum, in their order; None is as they
            lie there.

    Arguments:
        decoder: Maps :math:`z` to the logits of the levels :math:`1 \ldots n - 1` against level 0,
            joined in the first dimension of `x_shape`.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`.
        event_dim: The number of dimensions of one datum.

    Raises:
        ValueError: There are fewer than 2 levels, or the decoder does not say the shape of its
            output and none is given.
    """

    support_name = "{0, ..., n}"
    independent = False
    order: Sequence[int] | None = None

    def __init__(self, decoder: nn.Module, num_levels: int, event_dim: int) -> None:
        super().__init__(decoder, event_dim)
        if num_levels < 2:
            raise ValueError(f"Expected num_levels of at least 2; got {num_levels}.")
        self.num_levels = num_levels
        levels = constraints.integer_interval(0, num_levels - 1)
        self.support = constraints.boolean if num_levels == 2 else levels

    @staticmethod
    def num_outputs(num_levels: int = 2, **others: Any) -> int:
        return num_levels - 1

    def outputs_at(self, mean: Tensor) -> Tensor | None:
        return logit_of(mean) if self.num_levels == 2 else None

    def forward(self, z: Tensor) -> dist.Distribution:
        outputs = self.decode(z).unflatten(-self.event_dim, (self.num_levels - 1, -1))
        context = outputs.movedim(-self.event_dim - 1, -1)
        law = distributions.Autoregressive
        return law(self._logits, context, self.event_dim, self.order)

    def _logits(self, x: Tensor, context: Tensor) -> Tensor:
        return context + self.correction(x / (self.num_levels - 1), context)

    def _shape(self, x: Tensor, context: Tensor) -> torch.Size:
        r"""That of the logits, as batch shapes broadcast."""
        return torch.broadcast_shapes(x[..., None].shape, context.shape)

    @abstractmethod
    def correction(self, x: Tensor, context: Tensor) -> Tensor:
        r"""What the elements before add to the logits.

        Arguments:
            x: Data from 0 to 1, of shape `(*batch, *x_shape)`.
            context: The decoder's logits, of shape `(*batch, *x_shape, n - 1)`; batch shapes
                broadcast.

        Returns:
            Logits of shape `(*batch, *x_shape, n - 1)`.
        """


def datum_shape(decoder: Any, x_shape: Any, num_levels: int, event_dim: int) -> tuple[int, ...]:
    r"""The shape of one datum: as given, or as the decoder's outputs say."""
    found: tuple[int, ...] = getattr(decoder, "out_shape", ())
    if x_shape is None and not found:
        raise ValueError(
            "Expected x_shape, as the decoder does not say the shape of its output; got none. "
            "Pass x_shape=."
        )
    shape = (found[0] // (num_levels - 1), *found[1:]) if x_shape is None else tuple(x_shape)
    if len(shape) != event_dim:
        raise ValueError(
            f"Expected data of event_dim {event_dim}; got x of shape {shape}. Set event_dim to "
            f"{len(shape)}."
        )
    return shape
