r"""Counts in proportion to a size that is known."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..remembered import Remembers


class Offset(Remembers, nn.Module):
    r"""Creates a decoder whose log means are shifted by :math:`\log n`, so that the means of
    counts are in proportion to :math:`n`, such as the number of reads of a cell.

    .. math:: \log m(z, n) = f(z) + \log n

    The last of what the likelihood is given is :math:`n`: ``.given("z", "n")``. It must be
    positive; :math:`n = 0` has means of zero, under which only zeros have a density.

    References:
        | Deep generative modeling for single-cell transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Arguments:
        decoder: The network :math:`f` of the other inputs: of their tensor, or of a tuple if there
            are several. Its outputs are log means, of shape `(*batch, *x_shape)`, or these joined
            with other parameters behind them in the first dimension of `x_shape`.
        outputs_per_element: How many parameters an element of `x` has, as the likelihood says; the
            first of them is the log mean.
        event_dim: The number of dimensions of one datum.

    Raises:
        ValueError: There are fewer than two inputs, or `n` has not one number for each datum.

    Example:
        >>> offset = Offset(nn.Linear(2, 3))
        >>> z, n = torch.zeros(5, 2), torch.full((5, 1), 7.0)
        >>> bool((offset((z, 2 * n)).exp() / offset((z, n)).exp()).allclose(torch.tensor(2.0)))
        True
    """

    def __init__(
        self, decoder: nn.Module, outputs_per_element: int = 1, event_dim: int = 1
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.outputs_per_element, self.event_dim = outputs_per_element, event_dim

    @property
    def output_bias(self) -> Tensor | None:
        r"""Where the outputs start at :math:`n = 1`, if the decoder says so."""
        return getattr(self.decoder, "output_bias", None)

    @property
    def out_shape(self) -> tuple[int, ...] | None:
        r"""The shape of one output, if the decoder says so."""
        return getattr(self.decoder, "out_shape", None)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        r"""
        Arguments:
            inputs: What the decoder takes, of shape `(*batch, ...)`, and :math:`n`, of shape
                `(*batch, 1)`.
        """
        if isinstance(inputs, Tensor) or len(inputs) < 2:
            raise ValueError(
                'Expected several inputs, the last of which is n, as in .given("z", "n"); got one.'
            )
        *rest, n = inputs
        if n.dim() == 0 or n.shape[-1] != 1:
            raise ValueError(f"Expected n of shape (batch, 1); got {tuple(n.shape)}.")
        outputs = self.decoder(rest[0] if len(rest) == 1 else tuple(rest))
        first = -self.event_dim
        shift = n.log().reshape(*n.shape[:-1], *[1] * self.event_dim)
        means, *others = outputs.chunk(self.outputs_per_element, first)
        return torch.cat([means + shift, *others], first) if others else means + shift
