r"""A table's columns, each group under a density of its own, with holes."""

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from .support import ByColumn, any_value


class Columns(dist.TorchDistribution):
    r"""Creates the product of densities over groups of columns; missing elements drop out.

    Arguments:
        parts: Distributions of independent elements, each ``event_shape`` `(size,)`.
        columns: The columns of each part; together all of `0 ... D - 1`, each once.
    """

    arg_constraints: dict[str, Constraint] = {}

    def __init__(self, parts: Sequence[Any], columns: Sequence[Tensor]) -> None:
        self.parts, self.columns = parts, columns
        size = torch.Size([sum(len(group) for group in columns)])
        super().__init__(parts[0].batch_shape, size, validate_args=False)

    @property
    def support(self) -> Constraint:
        supports = [part.base_dist.support for part in self.parts]
        return ByColumn(supports, [columns.tolist() for columns in self.columns])

    @property
    def mean(self) -> Tensor:
        return self._join([part.mean for part in self.parts])

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self._join([part.sample(sample_shape) for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        r"""The log density of what is there: an element that is NaN adds nothing."""
        total = value.new_zeros(())
        for part, columns in zip(self.parts, self.columns):
            x, elements = value[..., columns], part.base_dist
            there = ~x.isnan()
            filled = torch.where(there, x, any_value(elements.support, x))
            total = total + torch.where(there, elements.log_prob(filled), 0.0).sum(-1)
        return total

    def rest(self, x: Tensor) -> Any:
        r"""Refuses to be given to another site with what `x` misses."""
        raise ValueError(
            "Expected a likelihood of real numbers for holes that another site is given, through "
            "which gradients flow; got a product over columns. Take MissingAtRandom of one family."
        )

    def _join(self, values: list[Tensor]) -> Tensor:
        return torch.cat(values, -1)[..., torch.cat(list(self.columns)).argsort()]
