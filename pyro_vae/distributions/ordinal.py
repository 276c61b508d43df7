r"""Ordered levels, by cutpoints on a line."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from .discrete import Levels


class Ordinal(Levels):
    r"""Creates the law of ordered levels, :math:`P(x \leq k) = \sigma(c_k - f)`.

    With :math:`a > b` the cutpoints on both sides of a level, less :math:`f`,

    .. math:: \sigma(a) - \sigma(b) = \sigma(a) \, \sigma(-b) \, (1 - e^{b - a})

    which loses no digits.

    References:
        | Regression Models for Ordinal Data (McCullagh, 1980), Eq. 2.1

    Arguments:
        loc: The place :math:`f` on the line, of shape `batch`.
        first: The first cutpoint :math:`c_0`, of a shape that broadcasts to `batch`.
        log_gaps: The logarithms of the distances from each cutpoint to the next, of that shape
            and `(K - 2,)`; the levels are :math:`0 \ldots K - 1`.
    """

    def __init__(self, loc: Tensor, first: Tensor, log_gaps: Tensor) -> None:
        gaps = log_gaps.exp()
        self.loc, self.cutpoints = loc, pad(gaps, (1, 0)).cumsum(-1) + first[..., None]
        super().__init__(_log_levels(self.cutpoints - loc[..., None], gaps))


def _log_levels(place: Tensor, gaps: Tensor) -> Tensor:
    r"""The log probabilities of the levels, from the cutpoints less :math:`f`."""
    outside = pad(logsigmoid(place), (0, 1)) + pad(logsigmoid(-place), (1, 0))
    return outside + pad(torch.log(-torch.expm1(-gaps)), (1, 1))
