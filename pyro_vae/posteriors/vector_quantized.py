from torch import Tensor, nn

from ..counted import Positive, Size, counted
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
        commitment: The weight :math:`\beta` of the squared distance of :math:`e` from its codes,
            which holds the encoder to them.
        temperature: The temperature :math:`\tau` of the soft twin.
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
    ) -> None:
        book = Codebook(num_codes, code_dim)
        super().__init__(encoder, latent_dim, book, commitment, temperature)

    def encoded(self, x: Tensor) -> Tensor:
        return self.encoder(x)
