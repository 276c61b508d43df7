r"""Networks over steps of time."""

import torch
from torch import Tensor, nn


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
