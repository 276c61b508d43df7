from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Likelihood
from ..distributions import ByColumn, Columns
from .wrapper import check_independent


class Product(Likelihood):
    r"""Creates the likelihood :math:`\prod_g p_g(x_{C_g} \mid z)`: mixed columns of a table.

    Elements that are missing (NaN) add nothing: they are integrated out.

    References:
        | Handling Incomplete Heterogeneous Data using VAEs (Nazabal et al., 2020), Eq. 3
        | https://arxiv.org/abs/1807.03653

    Arguments:
        decoder: Maps :math:`z` to features that the decoders of all parts take.
        parts: For each group its columns and their likelihood, whose ``event_dim`` is 1; together
            they have every column once.

    Raises:
        ValueError: The columns are not :math:`0 \ldots D - 1`, each once, or elements
            of a part depend on each other.
    """

    formula = "p(x | z) = prod_g p_g(x_C(g) | z), a likelihood for each group of columns"
    advice = "for tables of mixed types, with holes (empty cells)"
    support_name = "that of each column"

    missing = True

    def __init__(
        self, decoder: nn.Module, parts: Sequence[tuple[Sequence[int], Likelihood]]
    ) -> None:
        super().__init__(decoder, event_dim=1)
        every = sorted(column for columns, _ in parts for column in columns)
        if every != list(range(len(every))) or not every:
            raise ValueError(f"Expected every column in one part; got the columns {every}.")
        for _, part in parts:
            check_independent(part, "Product")
        self.parts = nn.ModuleList(part for _, part in parts)
        for i, (columns, _) in enumerate(parts):
            self.register_buffer(f"columns{i}", torch.tensor(list(columns)), persistent=False)
        supports = [part.support for _, part in parts]
        self.support = ByColumn(supports, [list(columns) for columns, _ in parts])

    def outputs_at(self, mean: Tensor) -> None:
        return None

    def forward(self, z: Tensor) -> dist.Distribution:
        features = self.decode(z)
        columns = [getattr(self, f"columns{i}") for i in range(len(self.parts))]
        return Columns([part(features) for part in self.parts], columns)
