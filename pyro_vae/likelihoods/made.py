from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from ..counted import counted
from ..nn import MADE as Network
from .autoregressive import Autoregressive, datum_shape


class MADE(Autoregressive):
    r"""Creates the likelihood :math:`\prod_i p(x_i \mid x_{<i}, z)` of a masked autoencoder.

    Elements are in the order of the flattened datum. The decoder's logits are added to those of
    the masked network, whose hidden units see them, too. The density takes one pass of it, a
    sample a pass for each element. For the *mean* see
    :attr:`pyro_vae.distributions.Autoregressive.mean`.

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), Eq. 4
        | https://arxiv.org/abs/1502.03509

    Arguments:
        decoder: Maps :math:`z` to the logits of the levels :math:`1 \ldots n - 1` against level 0,
            joined in the first dimension of `x_shape`.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`; 2 are bits.
        hidden_features: The size of each hidden layer of the masked network.
        event_dim: The number of dimensions of one datum.
        x_shape: The shape of one datum; by default that of the decoder's output, where it says
            one.
    """

    formula = "p(x | z) = prod_i p(x_i | x_<i, z), logits f_i(z) + made_i(x_<i, f(z))"
    advice = "for bits or levels that depend on each other, in any order; a strong decoder"

    @counted
    def __init__(
        self,
        decoder: nn.Module,
        num_levels: int = 2,
        hidden_features: Sequence[int] = (256,),
        event_dim: int = 1,
        x_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(decoder, num_levels, event_dim)
        size, outputs = prod(datum_shape(decoder, x_shape, num_levels, event_dim)), num_levels - 1
        self.made = Network(size, hidden_features, outputs, context_features=size * outputs)

    def correction(self, x: Tensor, context: Tensor) -> Tensor:
        given = context.flatten(-self.event_dim - 1)
        return self.made(x.flatten(-self.event_dim), given).reshape(*self._shape(x, context))
