from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Density, Posterior
from ..distributions import Coded, CodeVectors, Levels, Quantized
from ..nn import Codebook


class Quantizing(Posterior, ABC):
    r"""Abstract posterior that is a point of codes in training, and its soft twin in evaluation.

    Arguments:
        encoder: Maps :math:`x` to numbers from which :math:`e` is made, of shape
            `(*batch, latent_dim)`.
        latent_dim: The number of latent features.
        codebook: The codes.
        commitment: The weight of :math:`\| e - c \|^2`.
        temperature: The temperature of the soft twin.

    Attributes:
        num_blocks: The number of codes of a datum.
    """

    support_name = "code vectors"
    outputs_per_feature = 1

    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        codebook: Codebook,
        commitment: float,
        temperature: float,
    ) -> None:
        super().__init__(encoder)
        size = codebook.code_dim
        if latent_dim % size:
            raise ValueError(
                f"Expected latent_dim to be a multiple of code_dim; got {latent_dim} and {size}."
            )
        self.codebook, self.num_blocks = codebook, latent_dim // size
        self.commitment = commitment
        self.support = CodeVectors(codebook)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(temperature))

    @property
    def density(self) -> Density:  # type: ignore[override]
        return "none" if self.training else "anywhere"

    @abstractmethod
    def encoded(self, x: Tensor) -> Tensor:
        r"""The vectors :math:`e` of data, end to end, of shape `(*batch, latent_dim)`."""

    def forward(self, x: Tensor) -> dist.Distribution:
        encoded = self.encoded(x)
        if self.training:
            return Quantized(encoded, self.codebook, self.commitment)
        return Coded(self.twin(encoded), self.codebook)

    def twin(self, encoded: Tensor) -> dist.Distribution:
        r"""The law of the codes of the soft twin, given what :meth:`encoded` returned."""
        return Levels(-self.codebook.distances(encoded) / self.temperature).to_event(1)
