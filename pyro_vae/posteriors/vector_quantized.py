import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Density, Posterior
from ..counted import Positive, Size, counted
from ..distributions import Coded, CodeVectors, Levels, Quantized
from ..nn import Codebook


class VectorQuantized(Posterior):
    r"""Creates the point :math:`z` of codes, each the one next to the encoder's :math:`e`.

    Gradients pass straight through; training moves the codebook to running means of what is
    encoded (:class:`pyro_vae.objectives.track_codebook`). With the prior :class:`Codes` the bound
    counts :math:`-\log p(z)` for the codes.

    In evaluation mode it is the soft twin of the point, independent codes with

    .. math:: q(k \mid x) \propto \exp(-\| e - c_k \|^2 / \tau)

    so that :math:`\log p(x)` by importance samples is of all codes, not of one.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Arguments:
        encoder: Maps :math:`x` to :math:`e`, the vectors of all blocks, of shape
            `(*batch, latent_dim)`.
        latent_dim: The number of latent features, a multiple of `code_dim`: so many numbers, in
            `latent_dim / code_dim` codes.
        num_codes: The number `K` of codes.
        code_dim: The size of the vector of a code.
        commitment: The weight :math:`\beta` of :math:`\| e - c \|^2`, which holds the encoder to
            its codes.
        temperature: The temperature :math:`\tau` of the soft twin.
    """

    formula = "q(z | x): blocks, each the vector of a codebook next to f(x)"
    advice = "codes from a learned codebook, with the codes prior; straight-through gradients"
    support_name = "code vectors"
    outputs_per_feature = 1

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_codes: Size = 64,
        code_dim: Size = 4,
        commitment: Positive = 0.25,
        temperature: Positive = 1.0,
    ) -> None:
        super().__init__(encoder)
        if latent_dim % code_dim:
            raise ValueError(
                f"Expected latent_dim to be a multiple of code_dim; got {latent_dim} and "
                f"{code_dim}."
            )
        self.codebook, self.num_blocks = Codebook(num_codes, code_dim), latent_dim // code_dim
        self.commitment = commitment
        self.support = CodeVectors(self.codebook)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(temperature))

    @property
    def density(self) -> Density:  # type: ignore[override]
        return "none" if self.training else "anywhere"

    def forward(self, x: Tensor) -> dist.Distribution:
        encoded = self.encoder(x)
        if self.training:
            return Quantized(encoded, self.codebook, self.commitment)
        logits = -self.codebook.distances(encoded) / self.temperature
        return Coded(Levels(logits).to_event(1), self.codebook)
