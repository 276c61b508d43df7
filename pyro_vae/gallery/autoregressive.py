r"""Autoregressive models without latent variables: every element given those before it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from .. import distributions
from .base import Relative

NO_CODE = "it has no latent variables"


class Autoregressive(Relative, ABC):
    r"""Abstract model :math:`\prod_i p(x_i \mid x_{<i})` of levels. Define ``correction``.

    Attributes:
        order: The places of the elements in the flattened datum, in their order; None is as they
            lie there.
    """

    density = "exact"
    support_name = "{0, ..., n}"
    lacks: ClassVar[Mapping[str, str]] = {"encode": NO_CODE, "reconstruct": NO_CODE}
    order: Sequence[int] | None = None

    def __init__(self, x_shape: Sequence[int], num_levels: int) -> None:
        super().__init__(x_shape)
        if num_levels < 2:
            raise ValueError(f"Expected num_levels of at least 2; got {num_levels}.")
        self.num_levels = num_levels
        levels = constraints.integer_interval(0, num_levels - 1)
        self.support = constraints.boolean if num_levels == 2 else levels
        self.logits = nn.Parameter(torch.zeros(*self.x_shape, num_levels - 1))

    @abstractmethod
    def correction(self, x: Tensor) -> Tensor:
        r"""What the elements before add to the logits.

        Arguments:
            x: Data from 0 to 1, of shape `(*batch, *x_shape)`.

        Returns:
            Logits of the levels :math:`1 \ldots n - 1`, of shape `(*batch, *x_shape, n - 1)`.
        """

    def law(self) -> distributions.Autoregressive:
        r"""The distribution of `x`."""
        return distributions.Autoregressive(
            lambda x, logits: logits + self.correction(x / (self.num_levels - 1)),
            self.logits,
            len(self.x_shape),
            self.order,
        )

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.law().log_prob(x)

    def sample(self, num_samples: int) -> Tensor:
        return self.law().sample((num_samples,))
