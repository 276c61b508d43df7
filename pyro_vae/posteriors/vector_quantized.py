from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from ..counted import Positive, Size, counted
from ..distributions import Residual, residuals
from ..nn import Codebook
from .quantized import Quantizing


class VectorQuantized(Quantizing):
    r"""Creates the point :math:`z` of codes, each the one next to the encoder's :math:`e`.

    Gradients pass straight through; training moves the codebook to running means of what is
    encoded (:class:`pyro_vae.objectives.track_codebook`). With the prior :class:`Codes` the bound
    counts :math:`-\log p(z)` for the codes.

    In evaluation mode it is the soft twin of the point, independent codes with

    .. math:: q(k \mid x) \propto \exp(-\| e - c_k \|^2 / \tau)

    so that :math:`\log p(x)` by importance samples is of all codes, not of one.

    With a `depth` of more than one each vector of :math:`e` has so many codes of one codebook,
    each for what those before it leave of the vector; :math:`z` has the vectors of all of them,
    after one another, and prior and decoder see them all.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937
        | Autoregressive Image Generation using Residual Quantization (Lee et al., 2022), Sec. 3.1
        | https://arxiv.org/abs/2203.01941

    Arguments:
        encoder: Maps :math:`x` to :math:`e`, the vectors of all blocks, of shape
            `(*batch, latent_dim / depth)`.
        latent_dim: The number of latent features, a multiple of `depth * code_dim`: so many
            numbers, in `latent_dim / code_dim` codes.
        num_codes: The number `K` of codes.
        code_dim: The size of the vector of a code.
        commitment: The weight :math:`\beta` of the squared distance of :math:`e` from its codes,
            which holds the encoder to them.
        temperature: The temperature :math:`\tau` of the soft twin.
        depth: The number of codes of each vector of :math:`e`.
    """

    formula = "q(z | x): blocks, each the vector of a codebook next to f(x)"
    advice = "codes from a learned codebook, with the codes prior; straight-through gradients"

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_codes: Size = 64,
        code_dim: Size = 4,
        commitment: Positive = 0.25,
        temperature: Positive = 2.0,
        depth: Size = 1,
    ) -> None:
        book = Codebook(num_codes, code_dim)
        super().__init__(encoder, latent_dim, book, commitment, temperature)
        if latent_dim % (depth * code_dim):
            raise ValueError(
                "Expected latent_dim to be a multiple of depth * code_dim; got "
                f"{latent_dim} and {depth} * {code_dim}."
            )
        self.depth = depth

    @classmethod
    def num_outputs(cls, latent_dim: int, depth: int = 1, **options: Any) -> int:
        return latent_dim // depth

    def encoded(self, x: Tensor) -> Tensor:
        return residuals(self.encoder(x), self.codebook, self.depth)

    def twin(self, encoded: Tensor) -> dist.Distribution:
        if self.depth == 1:
            return super().twin(encoded)
        vectors = encoded.unflatten(-1, (-1, self.depth, self.codebook.code_dim))
        first = vectors[..., 0, :].flatten(-2)
        return Residual(first, self.codebook, self.depth, self.temperature)
