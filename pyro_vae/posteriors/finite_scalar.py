from torch import Tensor, nn

from ..counted import Positive, Size, counted
from ..nn import Grid
from .quantized import Quantizing


class FiniteScalar(Quantizing):
    r"""Creates the point :math:`z` whose features are the encoder's, bounded and rounded.

    .. math:: z_i = \mathrm{round}(\tanh f_i(x)) \in \{-1, \ldots, 1\}, \quad L
        \text{ levels at equal distances}

    `code_dim` features are one code of the prior :class:`Codes`: the codebook is a grid, with
    nothing to learn, to commit to, or to die. In evaluation mode it is the soft twin, as
    :class:`VectorQuantized` has it.

    References:
        | Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2024), Sec. 3.1
        | https://arxiv.org/abs/2309.15505

    Arguments:
        encoder: Maps :math:`x` to :math:`f`, of shape `(*batch, latent_dim)`.
        latent_dim: The number of latent features, a multiple of `code_dim`.
        num_levels: The number `L` of levels of a feature; a code has `L ** code_dim` values.
        code_dim: How many features are one code.
        temperature: The temperature of the soft twin.
    """

    formula = "q(z | x): features tanh f(x), rounded to levels from -1 to 1"
    advice = "codes from a grid, with the codes prior: no codebook to learn, no code to die"

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_levels: Size = 4,
        code_dim: Size = 3,
        temperature: Positive = 0.1,
    ) -> None:
        super().__init__(encoder, latent_dim, Grid(num_levels, code_dim), 0.0, temperature)

    def encoded(self, x: Tensor) -> Tensor:
        return self.encoder(x).tanh()
