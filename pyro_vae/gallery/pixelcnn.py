r"""An autoregressive model of images: every pixel given those above it and to its left."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ..counted import Size, counted
from ..nn import PixelCNN as Network
from .autoregressive import Autoregressive


class PixelCNN(Autoregressive):
    r"""Creates the model :math:`\prod_i p(x_i \mid x_{<i})` of a gated PixelCNN.

    Pixels are in reading order, the channels of a pixel in theirs. It is the likelihood
    ``pixel-cnn`` without `z`: a density takes one pass, a sample a pass for each pixel and
    channel.

    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), Eq. 2
        | https://arxiv.org/abs/1606.05328

    Arguments:
        x_shape: The shape `(C, H, W)` of one datum.
        num_levels: The number `n` of levels, which are :math:`0 \ldots n - 1`; 2 are bits.
        channels: The channels of the hidden layers.
        num_layers: The number of gated layers.
        kernel_size: The width of the first kernel, an odd number.

    Raises:
        ValueError: Data are no images.
    """

    formula = "p(x) = prod_i p(x_i | x_<i), logits pixelcnn_i(x_<i)"
    advice = "for an exact probability of images; sampling takes a pass for each pixel"

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_levels: Size = 2,
        channels: Size = 32,
        num_layers: int = 3,
        kernel_size: Size = 5,
    ) -> None:
        super().__init__(x_shape, num_levels)
        if len(self.x_shape) != 3:
            raise ValueError(
                "Expected images of shape (channels, height, width); got x of shape "
                f"{self.x_shape}. Use made for other data."
            )
        count = self.x_shape[0]
        places = torch.arange(prod(self.x_shape)).reshape(self.x_shape)
        self.order = places.movedim(0, -1).flatten().tolist()
        self.pixels = Network(
            count,
            count * (num_levels - 1),
            channels=channels,
            num_layers=num_layers,
            kernel_size=kernel_size,
            ordered=count > 1,
        )

    def correction(self, x: Tensor) -> Tensor:
        y = self.pixels(x.reshape(-1, *self.x_shape))
        y = y.unflatten(1, (self.x_shape[0], -1)).movedim(2, -1)
        return y.reshape(*x.shape, self.num_levels - 1)
