from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from ..counted import counted
from ..nn import PixelCNN as Network
from .autoregressive import Autoregressive, datum_shape


class PixelCNN(Autoregressive):
    r"""Creates the likelihood :math:`\prod_i p(x_i \mid x_{<i}, z)` of a gated PixelCNN.

    Pixels are in reading order, the channels of a pixel in theirs. The decoder's logits are added
    to those of the convolutions, whose hidden units see them, too. The density takes one pass of
    them, a sample a pass for each pixel and channel. For the *mean* see
    :attr:`pyro_vae.distributions.Autoregressive.mean`.

    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), Eq. 4
        | https://arxiv.org/abs/1606.05328
        | PixelVAE: A Latent Variable Model for Natural Images (Gulrajani et al., 2017), Sec. 2.2
        | https://arxiv.org/abs/1611.05013

    Arguments:
        decoder: Maps :math:`z` to the logits of the levels :math:`1 \ldots n - 1` against level 0,
            joined in the first dimension of `x_shape`.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`; 2 are bits.
        channels: The channels of the hidden layers.
        num_layers: The number of gated layers.
        kernel_size: The width of the first kernel, an odd number.
        event_dim: The number of dimensions of one datum, 3.
        x_shape: The shape `(C, H, W)` of one datum; by default that of the decoder's output, where
            it says one.

    Raises:
        ValueError: Data are no images.
    """

    formula = "p(x | z) = prod_i p(x_i | x_<i, z), logits f_i(z) + pixelcnn_i(x_<i, f(z))"
    advice = "for images whose pixels say much of each other: local detail is left to the decoder"

    @counted
    def __init__(
        self,
        decoder: nn.Module,
        num_levels: int = 2,
        channels: int = 32,
        num_layers: int = 3,
        kernel_size: int = 5,
        event_dim: int = 3,
        x_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(decoder, num_levels, event_dim)
        shape = datum_shape(decoder, x_shape, num_levels, event_dim)
        if len(shape) != 3:
            raise ValueError(
                f"Expected images of shape (channels, height, width); got x of shape {shape}. Use "
                "made for other data."
            )
        places = torch.arange(prod(shape)).reshape(shape)
        self.order = places.movedim(0, -1).flatten().tolist()
        size = shape[0] * (num_levels - 1)
        self.pixels = Network(
            shape[0], size, size, channels, num_layers, kernel_size, ordered=shape[0] > 1
        )

    def correction(self, x: Tensor, context: Tensor) -> Tensor:
        shape = self._shape(x, context)
        seen = x.expand(shape[:-1]).reshape(-1, *x.shape[-3:])
        given = context.expand(shape).movedim(-1, -3).flatten(-4, -3)  # by channel, then level
        y = self.pixels(seen, given.reshape(-1, *given.shape[-3:]))
        return y.unflatten(1, (x.shape[-3], -1)).movedim(2, -1).reshape(shape)
