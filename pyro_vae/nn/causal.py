r"""Gated convolutions over time whose outputs see what came before alone."""

from torch import Tensor, nn
from torch.nn.functional import pad

from .init import initialize
from .pixels import gated


class CausalCNN(nn.Module):
    r"""Creates gated convolutions over time, each of two taps twice as far apart as those before
    it: what comes out at a time depends on the :math:`2^n + 1` inputs before it, for `n` layers,
    and on a context.

    .. math:: y = \tanh(W_f * x + V_f c) \odot \sigma(W_g * x + V_g c)

    References:
        | WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016), Eq. 3
        | https://arxiv.org/abs/1609.03499

    Arguments:
        in_channels: The channels of the input.
        out_channels: The channels of the output.
        context_channels: Those of a context of the same length; none without a context.
        channels: Those of the hidden layers.
        num_layers: The number `n` of gated layers.

    Example:
        >>> import torch
        >>> CausalCNN(1, 6)(torch.zeros(5, 1, 100)).shape
        torch.Size([5, 6, 100])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        context_channels: int = 0,
        channels: int = 32,
        num_layers: int = 8,
    ) -> None:
        super().__init__()
        self.first = nn.Conv1d(in_channels, channels, 2)
        self.layers = nn.ModuleList(
            nn.Conv1d(channels, 2 * channels, 2, dilation=2**i) for i in range(num_layers)
        )
        self.outs = nn.ModuleList(nn.Conv1d(channels, channels, 1) for _ in range(num_layers))
        self.context = nn.ModuleList(
            nn.Conv1d(context_channels, 2 * channels, 1, bias=False)
            for _ in range(num_layers if context_channels else 0)
        )
        self.before_last = nn.Conv1d(channels, channels, 1)
        self.last = nn.Conv1d(channels, out_channels, 1)
        initialize(self, "kaiming")
        nn.init.normal_(self.last.weight, std=1e-2)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""
        Arguments:
            x: The input, of shape `(B, in_channels, T)`.
            context: The context, of shape `(B, context_channels, T)`.

        Returns:
            A tensor of shape `(B, out_channels, T)`.
        """
        y = self.first(pad(x, (2, 0))[..., :-1])
        for i, (layer, out) in enumerate(zip(self.layers, self.outs)):
            seen = layer(pad(y, (2**i, 0)))
            if len(self.context):
                seen = seen + self.context[i](context)
            y = y + out(gated(seen))
        return self.last(self.before_last(y.relu()).relu())
