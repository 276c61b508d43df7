r"""Networks over steps of time."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..remembered import Remembers
from .inputs import Observed

LEAST = 1e-4  # a variance; single precision loses what is far below that of the states


def followed(x: Tensor) -> Tensor:
    r"""Returns whether a step has a datum, or one after it has: all but padding.

    Arguments:
        x: Sequences of shape `(*batch, T, D)`, NaN where nothing is.

    Returns:
        A tensor of bool, of shape `(*batch, T, 1)`.
    """
    there = ~x.isnan().all(-1, keepdim=True)
    return there.flip(-2).cummax(-2).values.flip(-2)


class Backward(Remembers, nn.Module):
    r"""Creates a network that reads each sequence from its last datum to its first, by a GRU.

    It sees which elements are there (:class:`Observed`), and padding behind the last datum never
    before it: each sequence is turned by its own length, so that no number depends on how far it
    is padded.

    Arguments:
        in_features: The number of elements of a step.
        hidden_features: The size of the GRU's state.
        out_features: The number of outputs of a step.
        share: The share of steps in which an element is there, one number or one for each
            element, of shape `(in_features,)`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        share: float | Tensor = 1.0,
    ) -> None:
        super().__init__()
        self.observed = Observed(share=share)
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
        inside = followed(x)
        length, place = inside.sum(-2, keepdim=True), torch.arange(x.shape[-2], device=x.device)
        turned = torch.where(inside, length - 1 - place[:, None], place[:, None])  # its inverse
        steps = self.observed(x)
        state, _ = self.gru(steps.gather(-2, turned.expand_as(steps)))
        outputs = self.out(state.gather(-2, turned.expand_as(state)))
        return torch.where(inside, outputs, 0.0)


class Gated(Remembers, nn.Module):
    r"""Creates a transition that moves each feature of a state some of the way to a proposal.

    .. math:: \mu = (1 - g) \odot z + g \odot h, \quad
        \sigma^2 = \mathrm{softplus}(V \max(h, 0) + c) + 10^{-4}

    The gate :math:`g` and the proposal :math:`h` are networks of :math:`z` with a hidden layer of
    hyperbolic tangents. So :math:`\mu` is between :math:`z` and what is bounded: chains of any
    length stay finite, also those longer than any that the network was trained on.

    References:
        | Structured Inference Networks for Nonlinear State Space Models
        | (Krishnan et al., 2017), the gated transition function, where :math:`z` is multiplied by
          a matrix and hidden layers are rectified
        | https://arxiv.org/abs/1609.09869

    Arguments:
        latent_dim: The number `L` of features of :math:`z`.
        hidden_features: The size of either hidden layer.

    Example:
        >>> Gated(3, 8)(torch.zeros(5, 7, 3)).shape
        torch.Size([5, 7, 6])
    """

    def __init__(self, latent_dim: int, hidden_features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(latent_dim, 2 * hidden_features)
        self.gate = nn.Linear(hidden_features, latent_dim)
        self.proposal = nn.Linear(hidden_features, latent_dim)
        self.variance = nn.Linear(latent_dim, latent_dim)

    def forward(self, z: Tensor) -> Tensor:
        r"""
        Arguments:
            z: States of shape `(*batch, L)`.

        Returns:
            :math:`\mu` and :math:`\log \sigma`, joined, of shape `(*batch, 2 L)`.
        """
        of_gate, of_proposal = self.hidden(z).tanh().chunk(2, -1)
        proposal = self.proposal(of_proposal)
        loc = torch.lerp(z, proposal, self.gate(of_gate).sigmoid())
        variance = softplus(self.variance(proposal.relu())) + LEAST
        return torch.cat([loc, variance.log() / 2], -1)
