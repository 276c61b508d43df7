r"""A masked autoencoder as a model of its own."""

from collections.abc import Sequence
from math import prod

from torch import Tensor

from ..counted import Size, counted
from ..nn import MADE as Network
from .autoregressive import Autoregressive


class MADE(Autoregressive):
    r"""Creates the model :math:`\prod_i p(x_i \mid x_{<i})` of a masked autoencoder.

    Elements are in the order of the flattened datum. It is the likelihood ``made`` without `z`: a
    density takes one pass, a sample a pass for each element.

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), Eq. 4
        | https://arxiv.org/abs/1502.03509

    Arguments:
        x_shape: The shape of one datum.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`; 2 are bits.
        hidden_features: The size of each hidden layer.
    """

    formula = "p(x) = prod_i p(x_i | x_<i), logits made_i(x_<i)"
    advice = "for an exact probability of bits or levels; sampling takes a pass for each element"

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_levels: Size = 2,
        hidden_features: Sequence[int] = (256,),
    ) -> None:
        super().__init__(x_shape, num_levels)
        self.made = Network(prod(self.x_shape), hidden_features, num_levels - 1)

    def correction(self, x: Tensor) -> Tensor:
        y = self.made(x.flatten(-len(self.x_shape)))
        return y.reshape(*x.shape, self.num_levels - 1)
