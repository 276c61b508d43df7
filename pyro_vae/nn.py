r"""Networks: tensors in, tensors out, with any leading batch shape.  (layer 0)"""

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

Init = Literal["xavier", "kaiming"]


class MLP(nn.Module):
    r"""Creates a fully connected network.

    Arguments:
        in_features: The size of the input, or its shape, which is flattened.
        hidden_features: The size of each hidden layer, or that of one; none makes the network
            linear.
        out_features: The size of the output, or its shape.
        activation: The name of an activation of :mod:`torch.nn`.
        init: ``"xavier"`` (Glorot & Bengio, 2010) or ``"kaiming"`` (He et al., 2015) uniform
            weights; biases start at zero.

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
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = _shape(in_features), _shape(out_features)
        sizes = [prod(self.in_shape), *_shape(hidden_features), prod(self.out_shape)]
        act = find_activation(activation)

        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), act()]
        self.layers = nn.Sequential(*layers[:-1])
        self.output_bias = layers[-2].bias
        initialize(self.layers, init)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x.flatten(-len(self.in_shape)))
        return y.unflatten(-1, self.out_shape) if len(self.out_shape) > 1 else y


class ConvEncoder(nn.Module):
    r"""Creates a convolutional network from images to vectors; each layer halves the image.

    Arguments:
        in_features: The shape `(C, H, W)` of the images; sides that 4 divides, such as 28 or 32.
        out_features: The size of the output.
        channels: The channels of the two convolutions.
        hidden_features: The size of the fully connected layer.
        activation: The name of an activation of :mod:`torch.nn`.
        init: As in :class:`MLP`.
    """

    def __init__(
        self,
        in_features: Sequence[int],
        out_features: int,
        channels: tuple[int, int] = (32, 64),
        hidden_features: int = 256,
        activation: str = "SiLU",
        init: Init = "kaiming",
    ) -> None:
        super().__init__()
        self.in_shape = _image_shape(in_features)
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

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.reshape(-1, *self.in_shape)).reshape(*x.shape[:-3], -1)


class ConvDecoder(nn.Module):
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


class MADE(nn.Module):
    r"""Creates a network whose outputs for feature `i` depend on the features before it alone.

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), Sec. 3
        | https://arxiv.org/abs/1502.03509

    Arguments:
        features: The number of features.
        hidden_features: The size of each hidden layer.
        outputs: How many numbers come out for each feature.
        context_features: The size of a context that all outputs may depend on; its batch shape
            broadcasts with that of the input.
        reverse: Orders the features from last to first.
        activation: The name of an activation of :mod:`torch.nn`.

    Example:
        >>> made = MADE(3, [8], outputs=2, context_features=5)
        >>> made(torch.zeros(10, 1, 3), torch.zeros(4, 5)).shape
        torch.Size([10, 4, 3, 2])
    """

    def __init__(
        self,
        features: int,
        hidden_features: Sequence[int],
        outputs: int,
        context_features: int = 0,
        reverse: bool = False,
        activation: str = "SiLU",
    ) -> None:
        super().__init__()
        self.outputs = outputs
        degrees = [torch.arange(features).flip(0) if reverse else torch.arange(features)]
        degrees += [torch.arange(size) % max(1, features - 1) for size in hidden_features]
        last = degrees[0].repeat_interleave(outputs)
        masks = [after[:, None] >= before for before, after in pairwise(degrees)]
        masks.append(last[:, None] > degrees[-1])
        sizes = [len(mask) for mask in masks]
        self.linears = nn.ModuleList(
            nn.Linear(mask.shape[1], size) for mask, size in zip(masks, sizes)
        )
        ends = (sizes[0], sizes[-1]) if context_features else ()
        self.context = nn.ModuleList(nn.Linear(context_features, end, bias=False) for end in ends)
        self.activation = find_activation(activation)()
        for i, mask in enumerate(masks):
            self.register_buffer(f"mask{i}", mask, persistent=False)
        initialize(self, "kaiming")
        for last_layer in (self.linears[-1], *self.context[1:]):
            nn.init.normal_(last_layer.weight, std=1e-2)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y = x
        for i, linear in enumerate(self.linears):
            assert isinstance(linear, nn.Linear)
            y = nn.functional.linear(y, linear.weight * getattr(self, f"mask{i}"), linear.bias)
            if i == 0 and len(self.context):
                y = y + self.context[0](context)
            if i < len(self.linears) - 1:
                y = self.activation(y)
            elif len(self.context):
                y = y + self.context[1](context)
        return y.unflatten(-1, (-1, self.outputs))


class Observed(nn.Module):
    r"""Creates the map from vectors with holes (NaN) to values, zero in the holes, and which are.

    Example:
        >>> Observed()(torch.tensor([2.0, float("nan")]))
        tensor([2., 0., 1., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        there = ~x.isnan()
        return torch.cat([torch.where(there, x, 0.0), there.to(x.dtype)], dim=-1)


class Divide(nn.Module):
    r"""Creates the map :math:`x \mapsto x / s`, which brings grey levels to about 0..1.

    Arguments:
        scale: The number :math:`s`.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x / self.scale


class Standardize(nn.Module):
    r"""Creates the map :math:`x \mapsto (x - a) / b`, element by element, for data that networks
    are to see with mean 0 and standard deviation 1.

    Arguments:
        shift: The tensor :math:`a`, of shape `x_shape`.
        unit: The tensor :math:`b`, of shape `x_shape`.
    """

    shift: Tensor
    unit: Tensor

    def __init__(self, shift: Tensor, unit: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.clone())
        self.register_buffer("unit", unit.clone())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.shift) / self.unit


class Batched(nn.Module):
    r"""Creates a network that takes any leading batch shape from one that takes a single batch
    dimension, by flattening and restoring it.

    Arguments:
        net: A network of tensors of shape `(B, *in_shape)`, such as convolutions.
        event_dim: The number of dimensions of its input besides the batch.

    Example:
        >>> image = nn.Sequential(nn.Linear(4, 9), nn.Unflatten(1, (1, 3, 3)))
        >>> Batched(image)(torch.zeros(5, 7, 4)).shape
        torch.Size([5, 7, 1, 3, 3])
    """

    def __init__(self, net: nn.Module, event_dim: int = 1) -> None:
        super().__init__()
        self.net, self.event_dim = net, event_dim

    def forward(self, x: Tensor) -> Tensor:
        batch, event = x.shape[: -self.event_dim], x.shape[-self.event_dim :]
        y = self.net(x.reshape(-1, *event))
        return y.reshape(*batch, *y.shape[1:])


def find_activation(name: str) -> type[nn.Module]:
    r"""Returns the activation of :mod:`torch.nn` called `name`, whatever its capitals."""
    known = {
        key.lower(): value
        for key, value in vars(nn.modules.activation).items()
        if isinstance(value, type) and value.__module__ == nn.modules.activation.__name__
    }
    if name.lower() not in known:
        close = get_close_matches(name.lower(), known, n=1)
        hint = (
            f" Did you mean {known[close[0]].__name__}?" if close else " Try Tanh, ReLU or SiLU."
        )
        raise ValueError(f"Expected the name of an activation of torch.nn; got {name!r}.{hint}")
    return known[name.lower()]


def initialize(module: nn.Module, init: Init) -> None:
    r"""Draws the weights of linear and convolutional layers anew; biases become zero."""
    if init not in ("xavier", "kaiming"):
        raise ValueError(f"Expected init 'xavier' or 'kaiming'; got {init!r}.")
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            if init == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            else:
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _shape(features: int | Sequence[int]) -> tuple[int, ...]:
    return (features,) if isinstance(features, int) else tuple(features)


def _image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise ValueError(
            "Expected images of shape (channels, height, width) with sides that 4 divides; got "
            f"{tuple(shape)}. Use an MLP for other shapes."
        )
    return shape[0], shape[1], shape[2]


class At(nn.Module):
    r"""Creates the map of several inputs that applies a network to one of them.

    Arguments:
        place: The number of that input, from 0.
        net: The network.
    """

    def __init__(self, place: int, net: nn.Module) -> None:
        super().__init__()
        self.place, self.net = place, net

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        r"""Returns all inputs, one of them changed."""
        return tuple(self.net(v) if i == self.place else v for i, v in enumerate(inputs))


class Join(nn.Module):
    r"""Creates a network of several inputs: each is flattened, all are joined to one vector.

    Batch shapes broadcast, so that inputs without particles meet others with some.

    Arguments:
        net: A network of vectors, which sees one batch dimension.
        event_dims: How many dimensions a datum of each input has.

    Example:
        >>> join = Join(nn.Linear(4 + 9, 2), (1, 3))
        >>> join((torch.zeros(7, 5, 4), torch.zeros(5, 1, 3, 3))).shape
        torch.Size([7, 5, 2])
    """

    def __init__(self, net: nn.Module, event_dims: Sequence[int]) -> None:
        super().__init__()
        self.net, self.event_dims = net, tuple(event_dims)

    @property
    def output_bias(self) -> Tensor | None:
        r"""Where the outputs start, if the network says so."""
        return getattr(self.net, "output_bias", None)

    @property
    def out_shape(self) -> tuple[int, ...] | None:
        r"""The shape of one output, if the network says so."""
        return getattr(self.net, "out_shape", None)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        r"""
        Arguments:
            inputs: As many tensors as there are `event_dims`, in that order.
        """
        if isinstance(inputs, Tensor) or len(inputs) != len(self.event_dims):
            got = 1 if isinstance(inputs, Tensor) else len(inputs)
            raise ValueError(
                f"Expected {len(self.event_dims)} inputs, as Join(net, {self.event_dims}) says; "
                f"got {got}. Give event_dims a number for each."
            )
        flat = [v.flatten(-d) if d > 1 else v for v, d in zip(inputs, self.event_dims)]
        batch = torch.broadcast_shapes(*(v.shape[:-1] for v in flat))
        joined = torch.cat([v.expand(*batch, v.shape[-1]) for v in flat], -1)
        if len(batch) < 2:
            return self.net(joined)
        outputs = self.net(joined.flatten(0, -2))
        return outputs.reshape(*batch, *outputs.shape[1:])


class Backward(nn.Module):
    r"""Creates a network that reads each sequence from its last datum to its first, by a GRU.

    It sees which elements are there, and padding behind the last datum never before it: each
    sequence is turned by its own length, so that no number depends on how far it is padded.

    Arguments:
        in_features: The number of elements of a step.
        hidden_features: The size of the GRU's state.
        out_features: The number of outputs of a step.
    """

    def __init__(self, in_features: int, hidden_features: int, out_features: int) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * in_features, hidden_features, batch_first=True)
        self.out = nn.Linear(hidden_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        r"""
        Arguments:
            x: Sequences of shape `(B, T, in_features)`, NaN where nothing is.

        Returns:
            Outputs of shape `(B, T, out_features)`, each of the step and those that follow; zero
            behind the last datum.
        """
        there = ~x.isnan()
        place = torch.arange(x.shape[-2], device=x.device)
        length = (there.any(-1) * (place + 1)).amax(-1, keepdim=True)
        turned = torch.where(place < length, length - 1 - place, place)[..., None]  # its inverse
        steps = torch.cat([torch.where(there, x, 0.0), there.to(x.dtype)], -1)
        state, _ = self.gru(steps.gather(-2, turned.expand_as(steps)))
        outputs = self.out(state.gather(-2, turned.expand_as(state)))
        return torch.where((place < length)[..., None], outputs, 0.0)
