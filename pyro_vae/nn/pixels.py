r"""Gated convolutions over images whose outputs keep the order of the pixels."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from ..remembered import Remembers
from .init import initialize


class Masked(nn.Module):
    r"""Creates a convolution that sees pixels to the left, and at its own pixel groups of channels
    before that of the output, and its own where `own` is set.

    Arguments:
        in_groups: The group of each input channel.
        out_groups: The group of each output channel.
        width: How many pixels to the left it sees.
        own: Whether it sees its own group at its own pixel.
    """

    mask: Tensor

    def __init__(self, in_groups: Tensor, out_groups: Tensor, width: int, own: bool) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Conv2d(len(in_groups), len(out_groups), (1, width + 1))
        mask = torch.ones(self.conv.weight.shape, dtype=torch.bool)
        before = in_groups <= out_groups[:, None] if own else in_groups < out_groups[:, None]
        mask[:, :, 0, width] = before
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(pad(x, (self.width, 0)), self.conv.weight * self.mask, self.conv.bias)


class PixelCNN(Remembers, nn.Module):
    r"""Creates a gated PixelCNN: what comes out for a pixel depends on the pixels above it and to
    its left, and on a context.

    .. math:: y = \tanh(W_f * x + V_f c) \odot \sigma(W_g * x + V_g c)

    A vertical stack sees the rows above, a horizontal one the pixels to the left and the vertical
    stack; so there is no blind spot. Channels are ordered, too, if asked for.

    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), Eq. 4
        | https://arxiv.org/abs/1606.05328

    Arguments:
        in_channels: The channels of the input.
        out_channels: The channels of the output.
        context_channels: Those of a context of the same height and width, of which all outputs may
            depend on all; none without a context.
        channels: Those of the hidden layers.
        num_layers: The number of gated layers.
        kernel_size: The width of the first kernel, an odd number; those after it are 3 wide.
        ordered: Whether the input channels of a pixel are ordered, too, and the output falls into
            as many groups; else no output sees its own pixel.

    Example:
        >>> PixelCNN(3, 6, ordered=True)(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        context_channels: int = 0,
        channels: int = 32,
        num_layers: int = 3,
        kernel_size: int = 5,
        ordered: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or kernel_size < 3 or num_layers < 1:
            raise ValueError(
                "Expected an odd kernel_size of at least 3 and a layer or more; got kernel_size "
                f"{kernel_size} and {num_layers} layers."
            )
        count = in_channels if ordered else 1
        if channels < count or out_channels % count:
            raise ValueError(
                f"Expected at least as many hidden channels as the {count} of the input, and a "
                f"multiple of them as output; got {channels} and {out_channels}."
            )
        seen = torch.arange(in_channels) if ordered else torch.zeros(in_channels)
        hidden = torch.arange(channels) % count
        widths = [kernel_size // 2] + [1] * (num_layers - 1)
        self.layers = nn.ModuleList(
            _Layer(
                hidden if i else seen, hidden, context_channels, width, i > 0, i < num_layers - 1
            )
            for i, width in enumerate(widths)
        )
        last = torch.arange(count).repeat_interleave(out_channels // count)
        self.before_last = Masked(hidden, hidden, 0, True)
        self.last = Masked(hidden, last, 0, True)
        initialize(self, "kaiming")
        nn.init.normal_(self.last.conv.weight, std=1e-2)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""
        Arguments:
            x: Images of shape `(B, in_channels, H, W)`.
            context: The context, of shape `(B, context_channels, H, W)`.

        Returns:
            A tensor of shape `(B, out_channels, H, W)`.
        """
        above, left = pad(x, (0, 0, 1, 0))[..., :-1, :], x
        for layer in self.layers:
            above, left = layer(above, left, context)
        return self.last(self.before_last(left.relu()).relu())


class _Layer(nn.Module):
    r"""Creates a gated layer of both stacks; the last one has no vertical output."""

    def __init__(
        self, seen: Tensor, hidden: Tensor, context: int, width: int, own: bool, vertical: bool
    ) -> None:
        super().__init__()
        size, twice = len(hidden), hidden.repeat(2)
        self.margin, self.own, self.vertical = width, own, vertical
        self.above = nn.Conv2d(len(seen), 2 * size, (width + 1, 2 * width + 1))
        self.across = nn.Conv2d(2 * size, 2 * size, 1)
        self.left = Masked(seen, twice, width, own)
        self.out = Masked(hidden, hidden, 0, True)
        given = (2 if vertical else 1) if context else 0
        self.context = nn.ModuleList(
            nn.Conv2d(context, 2 * size, 1, bias=False) for _ in range(given)
        )

    def forward(
        self, above: Tensor, left: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        rows = self.above(pad(above, (self.margin, self.margin, self.margin, 0)))
        row = self.left(left) + self.across(rows)
        if len(self.context):
            row = row + self.context[0](context)
            rows = rows + self.context[1](context) if self.vertical else rows
        new = self.out(gated(row))
        return gated(rows) if self.vertical else above, new + left if self.own else new


def gated(y: Tensor) -> Tensor:
    r"""Half of the channels as values, through a hyperbolic tangent, times the others as gates."""
    value, gate = y.chunk(2, 1)
    return value.tanh() * gate.sigmoid()
