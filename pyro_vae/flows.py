r"""Layers of flows: each says how many numbers it needs, and makes a bijection of them.

Any sequence of layers makes a posterior, :class:`pyro_vae.posteriors.Flow`; the named flows are
sequences of one kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.transforms import Transform

from . import transforms
from .nn import MADE
from .remembered import Remembers


class Layer(Remembers, ABC):
    r"""Abstract layer. Define ``bijection``, and ``sizes`` or ``context_features``.

    Attributes:
        context_features: The size of the context that it sees, which all layers share.
        net: A network with parameters, if it has one.
        sequential: Whether one of its two ways takes a pass for each latent feature.
    """

    context_features: int = 0
    net: nn.Module | None = None
    sequential: bool = False

    def sizes(self, latent_dim: int) -> list[int]:
        r"""How many numbers each of its parameters has, for this many latent features."""
        return []

    @abstractmethod
    def bijection(self, parameters: Sequence[Tensor], context: Tensor | None) -> Transform:
        r"""Makes the bijection.

        Arguments:
            parameters: A tensor of shape `(*batch, size)` for each of its sizes.
            context: The shared context, of shape `(*batch, context_features)`.
        """


class Planar(Layer):
    r"""Creates the layer :math:`z + \hat{u} \tanh(w^\top z + b)` with `u`, `w` and `b`."""

    def sizes(self, latent_dim: int) -> list[int]:
        return [latent_dim, latent_dim, 1]

    def bijection(self, parameters: Sequence[Tensor], context: Tensor | None) -> Transform:
        return transforms.Planar(*parameters)


class Householder(Layer):
    r"""Creates the reflection :math:`z - 2 v v^\top z / v^\top v`."""

    def sizes(self, latent_dim: int) -> list[int]:
        return [latent_dim]

    def bijection(self, parameters: Sequence[Tensor], context: Tensor | None) -> Transform:
        return transforms.Householder(*parameters)


class Sylvester(Layer):
    r"""Creates the layer :math:`z + Q R \tanh(\tilde{R} Q^\top z + b)`, with the reflections of Q,
    the rows of both upper triangles, whose diagonals are within (-1, 1), and `b`.

    Arguments:
        num_reflections: The number of reflections in Q.
    """

    def __init__(self, num_reflections: int = 4) -> None:
        self.num_reflections = num_reflections

    def sizes(self, latent_dim: int) -> list[int]:
        half = latent_dim * (latent_dim + 1) // 2
        return [self.num_reflections * latent_dim, half, half, latent_dim]

    def bijection(self, parameters: Sequence[Tensor], context: Tensor | None) -> Transform:
        v, outer, inner, b = parameters
        size = b.shape[-1]
        v = v.unflatten(-1, (-1, size))
        return transforms.Sylvester(v, _triangle(outer, size), _triangle(inner, size), b)


class Autoregressive(Layer):
    r"""Creates :math:`z_i = g(z_i; \theta_i(z_{<i}, h))` with a network of the features before.

    Arguments:
        latent_dim: The number of latent features.
        hidden_features: The hidden layers of the network.
        context_features: The size of the context :math:`h`.
        element: The bijection `g` of single numbers: :class:`pyro_vae.transforms.GatedAffine` by
            default, or a :class:`pyro_vae.transforms.Spline`.
        reverse: Whether the last feature comes first.
    """

    sequential = True

    def __init__(
        self,
        latent_dim: int,
        hidden_features: Sequence[int] = (100,),
        context_features: int = 32,
        element: Any = transforms.GatedAffine,
        reverse: bool = False,
    ) -> None:
        self.context_features, self.element = context_features, element
        self.net: nn.Module = MADE(
            latent_dim, hidden_features, element.outputs, context_features, reverse
        )

    def bijection(self, parameters: Sequence[Tensor], context: Tensor | None) -> Transform:
        return transforms.Autoregressive(self.net, self.element, context)


def num_outputs(latent_dim: int, layers: Sequence[Layer] = ()) -> int:
    r"""How many numbers a Normal, these layers and the context that they share need."""
    own = sum(sum(layer.sizes(latent_dim)) for layer in layers)
    return 2 * latent_dim + own + shared_context(layers)


def shared_context(layers: Sequence[Layer]) -> int:
    r"""The size of the context that layers share.

    Raises:
        ValueError: They want contexts of different sizes.
    """
    sizes = {layer.context_features for layer in layers if layer.context_features}
    if len(sizes) > 1:
        found = ", ".join(map(str, sorted(sizes)))
        raise ValueError(f"Expected layers with one size of context; got {found}.")
    return sizes.pop() if sizes else 0


def _triangle(entries: Tensor, size: int) -> Tensor:
    r"""An upper triangle from its rows, its diagonal within (-1, 1)."""
    rows = torch.triu_indices(size, size, device=entries.device)
    full = entries.new_zeros(*entries.shape[:-1], size, size)
    full[..., rows[0], rows[1]] = entries
    diagonal = full.diagonal(dim1=-2, dim2=-1).tanh() * 0.999
    return full.triu(1) + diagonal.diag_embed()
