r"""The grammar: a VAE is a prior, a likelihood and a posterior.  (layer 1)

Each is a module whose ``forward`` returns a distribution with its full event shape. What others
may ask of a family stands in its class attributes; nothing else is read.
"""

from abc import ABC, abstractmethod
from typing import Literal

from pyro.distributions import Distribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

Density = Literal["anywhere", "own samples", "none"]
r"""Whether ``log_prob`` may be asked of any value, of values just drawn, or not at all."""

Link = Literal["identity", "log", "logit", "centred", "none"]
r"""What takes the mean of :math:`x` to the decoder's first output; ``"centred"`` levels lie in
[-1, 1], and ``"none"`` says that there is no such function."""


class Prior(nn.Module, ABC):
    r"""Abstract prior :math:`p(z)`. Define ``forward``.

    Attributes:
        support: Where :math:`z` lies.
    """

    support: Constraint = constraints.real

    @abstractmethod
    def forward(self) -> Distribution:
        r"""
        Returns:
            A distribution with ``batch_shape`` `()` and ``event_shape`` `(latent_dim,)`.
        """


class Likelihood(nn.Module, ABC):
    r"""Abstract likelihood :math:`p(x \mid z)`. Define ``forward``.

    Arguments:
        decoder: Maps :math:`z` of shape `(batch, latent_dim)` to `(batch, *x_shape)`; where an
            element of :math:`x` needs several numbers, they are joined in the first of these
            dimensions. It is called by :meth:`decode`.
        event_dim: The number of dimensions of one datum: 1 for vectors, 3 for images.

    Attributes:
        support: Where the elements of :math:`x` lie.
        link: What takes the mean of :math:`x` to the decoder's first output.
        missing: Whether elements of :math:`x` may be missing (NaN).
    """

    support: Constraint = constraints.real
    link: Link = "identity"
    missing: bool = False

    def __init__(self, decoder: nn.Module, event_dim: int = 1) -> None:
        super().__init__()
        self.decoder = decoder
        self.event_dim = event_dim

    def decode(self, z: Tensor) -> Tensor:
        r"""Calls the decoder, which sees one batch dimension whatever the shape of :math:`z`.

        Arguments:
            z: The latent variable, of shape `(*batch, latent_dim)`.

        Returns:
            The decoder's output, of shape `(*batch, ...)`.
        """
        if z.dim() in (0, 2):
            return self.decoder(z)
        y = self.decoder(z.reshape(-1, z.shape[-1]))
        return y.reshape(*z.shape[:-1], *y.shape[1:])

    @abstractmethod
    def forward(self, z: Tensor) -> Distribution:
        r"""
        Arguments:
            z: The latent variable, of shape `(*batch, latent_dim)`.

        Returns:
            A distribution with ``batch_shape`` `batch` and ``event_shape`` `x_shape`.
        """


class Posterior(nn.Module, ABC):
    r"""Abstract amortized posterior :math:`q(z \mid x)`. Define ``forward``.

    Arguments:
        encoder: Maps :math:`x` of shape `(*batch, *x_shape)` to the parameters of the
            distribution, of shape `(*batch, num_outputs)`.

    Attributes:
        support: Where :math:`z` lies.
        density: Of which values the density can be asked.
        reparameterized: Whether gradients of the parameters flow through samples.
        enumerable: Whether all values of :math:`z` can be listed.
        index: Whether ``forward`` takes row numbers, as ``forward(x, index)``.
        passes: How many passes of its networks the density of a foreign value takes.
    """

    support: Constraint = constraints.real
    density: Density = "anywhere"
    reparameterized: bool = True
    enumerable: bool = False
    index: bool = False
    passes: int = 1

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def forward(self, x: Tensor) -> Distribution:
        r"""
        Arguments:
            x: The data, of shape `(*batch, *x_shape)`.

        Returns:
            A distribution with ``batch_shape`` `batch` and ``event_shape`` `(latent_dim,)`.
        """
