r"""What comes before a network: units, holes, batch shapes, several inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..remembered import Remembers
from .networks import MLP, broadcast_rows


class Observed(Remembers, nn.Module):
    r"""Creates the map from data with holes (NaN) to values, zero in the holes, and which are
    there, joined in the first dimension of a datum: channels of images.

    With :math:`s` the share of data in which an element is there, what says so is :math:`1 - s`
    where it is and :math:`-s` where it is not: numbers around zero, of which networks learn fast.

    Arguments:
        event_dim: The number of dimensions of one datum: 1 for vectors, 3 for images.
        share: The share :math:`s`, one number or one for each element, of shape `x_shape`.

    Example:
        >>> Observed()(torch.tensor([2.0, float("nan")]))
        tensor([ 2.,  0.,  0., -1.])
    """

    share: Tensor

    def __init__(self, event_dim: int = 1, share: float | Tensor = 1.0) -> None:
        super().__init__()
        self.event_dim = event_dim
        learned = isinstance(share, Tensor)  # from data, so that a checkpoint has to hold it
        self.register_buffer("share", torch.as_tensor(share), persistent=learned)

    def forward(self, x: Tensor) -> Tensor:
        there = ~x.isnan()
        about_zero = there.to(x.dtype) - self.share.to(x.dtype)
        return torch.cat([torch.where(there, x, 0.0), about_zero], dim=-self.event_dim)


class Divide(Remembers, nn.Module):
    r"""Creates the map :math:`x \mapsto x / s`, which brings grey levels to about 0..1.

    Arguments:
        scale: The number :math:`s`.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x / self.scale


class Standardize(Remembers, nn.Module):
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


class Batched(Remembers, nn.Module):
    r"""Creates a network that takes any leading batch shape from one that takes a single batch
    dimension, by flattening and restoring it.

    Arguments:
        net: A network of tensors of shape `(B, *in_shape)`, such as convolutions.
        event_dim: The number of dimensions of its input without the batch.

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


class At(Remembers, nn.Module):
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


class Join(Remembers, nn.Module):
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
                f"got {got}. Pass one number in event_dims for each."
            )
        flat = [v.flatten(-d) if d > 1 else v for v, d in zip(inputs, self.event_dims)]
        if type(self.net) is MLP and len({v.shape[:-1] for v in flat}) > 1:
            return self.net.of_parts(flat)
        joined = torch.cat(broadcast_rows(flat), -1)
        batch = joined.shape[:-1]
        if len(batch) < 2:
            return self.net(joined)
        outputs = self.net(joined.flatten(0, -2))
        return outputs.reshape(*batch, *outputs.shape[1:])
