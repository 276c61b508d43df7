r"""Networks of one input: fully connected, and convolutional for images."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..remembered import Remembers
from .init import Init, find_activation, initialize, sizes


class MLP(Remembers, nn.Module):
    r"""Creates a fully connected network.

    Arguments:
        in_features: The size of the input, or its shape, which is flattened.
        hidden_features: The size of each hidden layer, or that of one; none makes the network
            linear.
        out_features: The size of the output, or its shape.
        activation: The name of an activation of :mod:`torch.nn`.
        init: ``"xavier"`` (Glorot & Bengio, 2010) or ``"kaiming"`` (He et al., 2015) uniform
            weights, or the standard deviation of normal ones; biases start at zero.
        scale: What the input is divided by, as weights are made for inputs of about 0..1: of grey
            levels the highest, which :attr:`pyro_vae.data.Split.scale` knows.

    Raises:
        ValueError: There is no such activation.

    Example:
        >>> MLP((1, 8, 8), [32], 4)(torch.zeros(5, 7, 1, 8, 8)).shape
        torch.Size([5, 7, 4])
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden_features: int | Sequence[int],
        out_features: int | Sequence[int],
        activation: str = "Tanh",
        init: Init = "xavier",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.in_shape = sizes("in_features", in_features)
        self.out_shape = sizes("out_features", out_features)
        hidden = sizes("hidden_features", hidden_features)
        self.scale = scale
        widths = [prod(self.in_shape), *hidden, prod(self.out_shape)]
        act = find_activation(activation)

        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), act()]
        self.layers = nn.Sequential(*layers[:-1])
        self.output_bias = layers[-2].bias
        initialize(self.layers, init)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(_divided(x, self.scale).flatten(-len(self.in_shape)))
        return self._shaped(y)

    def of_parts(self, parts: Sequence[Tensor]) -> Tensor:
        r"""Returns the output for an input in parts, each of which the first layer multiplies only
        as often as it differs.

        Arguments:
            parts: Vectors that together are the input; their batch shapes broadcast.
        """
        first, *others = self.layers
        hooks = (m._forward_hooks or m._forward_pre_hooks for m in (self, first))
        if type(first) is not nn.Linear or any(hooks):  # somebody's own: joined as ever
            return self(torch.cat(broadcast_rows(parts), -1))
        weights = first.weight.split([part.shape[-1] for part in parts], dim=1)
        scaled = [_divided(part, self.scale) for part in parts]
        y = linear(scaled[0], weights[0], first.bias)
        for part, weight in zip(scaled[1:], weights[1:]):
            y = y + linear(part, weight)
        for layer in others:
            y = layer(y)
        return self._shaped(y)

    def _shaped(self, y: Tensor) -> Tensor:
        return y.unflatten(-1, self.out_shape) if len(self.out_shape) > 1 else y


class ImageEncoder(Remembers, nn.Module):
    r"""A network from images to vectors: its `layers`, after division by `scale`."""

    layers: nn.Sequential

    def __init__(self, in_features: Sequence[int], scale: float) -> None:
        super().__init__()
        self.in_shape, self.scale = _image_shape(in_features), scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(_divided(x, self.scale).reshape(-1, *self.in_shape))
        return y.reshape(*x.shape[:-3], -1)


class ConvEncoder(ImageEncoder):
    r"""Creates a convolutional network from images to vectors; each layer halves the image.

    Arguments:
        in_features: The shape `(C, H, W)` of the images; sides that 4 divides, such as 28 or 32.
        out_features: The size of the output.
        channels: The channels of the two convolutions.
        hidden_features: The size of the fully connected layer.
        activation: The name of an activation of :mod:`torch.nn`.
        init: As in :class:`MLP`.
        scale: As in :class:`MLP`.
    """

    def __init__(
        self,
        in_features: Sequence[int],
        out_features: int,
        channels: tuple[int, int] = (32, 64),
        hidden_features: int = 256,
        activation: str = "SiLU",
        init: Init = "kaiming",
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_features, scale)
        (c, h, w), (c1, c2), act = self.in_shape, channels, find_activation(activation)
        self.layers = nn.Sequential(
            nn.Conv2d(c, c1, 4, stride=2, padding=1),
            act(),
            nn.Conv2d(c1, c2, 4, stride=2, padding=1),
            act(),
            nn.Flatten(),
            nn.Linear(c2 * (h // 4) * (w // 4), hidden_features),
            act(),
            nn.Linear(hidden_features, out_features),
        )
        initialize(self.layers, init)


class PooledEncoder(ImageEncoder):
    r"""Creates a convolutional network from images to vectors that takes the maximum over blocks
    of 2x2 places twice, and drops features before its last layer: it learns classes of images from
    fewer labels than :class:`ConvEncoder`, at a higher price.

    Batches are normalized (:class:`torch.nn.BatchNorm2d`), those without labels, too.

    Arguments:
        in_features: The shape `(C, H, W)` of the images; sides that 4 divides.
        out_features: The size of the output.
        channels: The channels of the first convolution, and of the second and third.
        dropout: The share of features that the last layer does not see in training.
        activation: The name of an activation of :mod:`torch.nn`.
        init: As in :class:`MLP`.
        scale: As in :class:`MLP`.
    """

    def __init__(
        self,
        in_features: Sequence[int],
        out_features: int,
        channels: tuple[int, int] = (16, 32),
        dropout: float = 0.5,
        activation: str = "SiLU",
        init: Init = "kaiming",
        scale: float = 1.0,
    ) -> None:
        super().__init__(in_features, scale)
        (c, h, w), (c1, c2), act = self.in_shape, channels, find_activation(activation)
        self.layers = nn.Sequential(
            *(nn.Conv2d(c, c1, 5, padding=2), nn.BatchNorm2d(c1), nn.MaxPool2d(2), act()),
            *(nn.Conv2d(c1, c2, 3, padding=1), nn.BatchNorm2d(c2), nn.MaxPool2d(2), act()),
            *(nn.Conv2d(c2, c2, 3, padding=1), nn.BatchNorm2d(c2), act()),
            *(nn.Flatten(), nn.Dropout(dropout)),
            nn.Linear(c2 * (h // 4) * (w // 4), out_features),
        )
        initialize(self.layers, init)


class ConvDecoder(Remembers, nn.Module):
    r"""Creates a convolutional network from vectors to images, :class:`ConvEncoder` mirrored.

    Arguments:
        in_features: The size of the input.
        out_features: The shape `(C, H, W)` of the output; sides that 4 divides.
        channels: The channels of the two convolutions, from the image inwards.
        hidden_features: The size of the fully connected layer.
        activation: The name of an activation of :mod:`torch.nn`.
        init: As in :class:`MLP`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: Sequence[int],
        channels: tuple[int, int] = (32, 64),
        hidden_features: int = 256,
        activation: str = "SiLU",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        self.in_features, self.out_shape = in_features, _image_shape(out_features)
        (c, h, w), (c1, c2), act = self.out_shape, channels, find_activation(activation)
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden_features),
            act(),
            nn.Linear(hidden_features, c2 * (h // 4) * (w // 4)),
            act(),
            nn.Unflatten(-1, (c2, h // 4, w // 4)),
            nn.ConvTranspose2d(c2, c1, 4, stride=2, padding=1),
            act(),
            nn.ConvTranspose2d(c1, c, 4, stride=2, padding=1, bias=False),
        )
        self.output_bias = nn.Parameter(torch.zeros(self.out_shape))
        initialize(self.layers, init)

    def forward(self, z: Tensor) -> Tensor:
        y = self.layers(z.reshape(-1, self.in_features)) + self.output_bias
        return y.reshape(*z.shape[:-1], *self.out_shape)


def broadcast_rows(vectors: Sequence[Tensor]) -> list[Tensor]:
    r"""Returns vectors of one batch shape, the one to which theirs broadcast."""
    batch = torch.broadcast_shapes(*(v.shape[:-1] for v in vectors))
    return [v.expand(*batch, v.shape[-1]) for v in vectors]


def _divided(x: Tensor, scale: float) -> Tensor:
    return x if scale == 1 else x / scale


def _image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise ValueError(
            "Expected images of shape (channels, height, width) with sides that 4 divides; got "
            f"{tuple(shape)}. Use an MLP for other shapes."
        )
    return shape[0], shape[1], shape[2]
