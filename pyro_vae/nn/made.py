r"""Networks whose outputs keep an order."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..remembered import Remembers
from .init import find_activation, initialize, sizes


class MADE(Remembers, nn.Module):
    r"""Creates a network whose outputs for feature `i` depend on the features before it alone.

    References:
        | MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), Sec. 3
        | https://arxiv.org/abs/1502.03509

    Arguments:
        features: The number of features.
        hidden_features: The size of each hidden layer, of which there is one or more.
        outputs: How many numbers come out for each feature.
        context_features: The size of a context that all outputs may depend on; its batch shape
            broadcasts with that of the input.
        reverse: Orders the features from last to first.
        activation: The name of an activation of :mod:`torch.nn`.
        inputs: How many numbers each feature comes as, laid end to end.

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
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.outputs, hidden = outputs, sizes("hidden_features", hidden_features)
        if not hidden:
            raise ValueError("Expected hidden_features of a hidden layer or more; got none.")
        degrees = [torch.arange(features).flip(0) if reverse else torch.arange(features)]
        degrees += [torch.arange(size) % max(1, features - 1) for size in hidden]
        last = degrees[0].repeat_interleave(outputs)
        masks = [after[:, None] >= before for before, after in pairwise(degrees)]
        masks[0] = masks[0].repeat_interleave(inputs, 1)
        masks.append(last[:, None] > degrees[-1])
        widths = [len(mask) for mask in masks]
        self.linears = nn.ModuleList(
            nn.Linear(mask.shape[1], size) for mask, size in zip(masks, widths)
        )
        ends = (widths[0], widths[-1]) if context_features else ()
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
