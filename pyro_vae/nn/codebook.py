r"""Vectors that codes stand for, and how they follow what is encoded."""

import torch
from torch import Tensor, nn

from ..ranks import batch_rows, batch_sum
from ..remembered import Remembers

LEAST_SHARE = 0.03  # of an even share of the data: less, and a code is dead


class Codebook(Remembers, nn.Module):
    r"""Creates `K` vectors of size `D`, the codes. No gradient moves them.

    They start at the first data that :meth:`follow` sees, and are their running means:

    .. math:: N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad
        m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i : k_i = k} e_i, \quad c_k = m_k / N_k

    A code that gets less than 3 % of an even share is dead, and starts again at a datum.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017), App. A.1
        | https://arxiv.org/abs/1711.00937
        | Jukebox: A Generative Model for Music (Dhariwal et al., 2020), Sec. 3.1, random restarts
        | https://arxiv.org/abs/2005.00341

    Arguments:
        num_codes: The number `K` of codes, at least 2.
        code_dim: The size `D` of their vectors.

    Attributes:
        vectors: The vectors :math:`c`, of shape `(K, D)`.
        revived: How often a dead code was started again.

    Example:
        >>> book = Codebook(5, 2)
        >>> book.codes(book.embed(torch.tensor([[3, 0, 4]])))
        tensor([[3, 0, 4]])
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor
    revived: Tensor

    def __init__(self, num_codes: int, code_dim: int) -> None:
        super().__init__()
        if num_codes < 2:
            raise ValueError(f"Expected two codes or more; got {num_codes}.")
        self.num_codes, self.code_dim = num_codes, code_dim
        self.register_buffer("vectors", torch.randn(num_codes, code_dim))
        self.register_buffer("counts", torch.zeros(num_codes))
        self.register_buffer("sums", torch.zeros(num_codes, code_dim))
        self.register_buffer("revived", torch.zeros((), dtype=torch.int64))

    def distances(self, e: Tensor) -> Tensor:
        r"""Squared distances of vectors from all codes.

        Arguments:
            e: `n` vectors, end to end, of shape `(*batch, n * D)`.

        Returns:
            A tensor of shape `(*batch, n, K)`.
        """
        blocks = e.unflatten(-1, (-1, self.code_dim))
        return (blocks[..., None, :] - self.vectors).square().sum(-1)

    def codes(self, e: Tensor) -> Tensor:
        r"""The nearest codes, of shape `(*batch, n)`, of vectors of shape `(*batch, n * D)`."""
        return self.distances(e.detach()).argmin(-1)

    def embed(self, codes: Tensor) -> Tensor:
        r"""The vectors of codes of shape `(*batch, n)`, end to end, `(*batch, n * D)`."""
        return self.vectors[codes].flatten(-2)

    @torch.no_grad()
    def moved(self, e: Tensor, decay: float) -> dict[str, Tensor]:
        r"""What the buffers will be after these data, by name.

        Arguments:
            e: Vectors that were encoded, of shape `(*batch, n * D)`.
            decay: The share :math:`\gamma` of the past in the running means.
        """
        data = e.reshape(-1, self.code_dim)
        places = torch.arange(self.num_codes, device=e.device)
        own = (self.codes(data) == places).to(data.dtype)
        counts = decay * self.counts + (1 - decay) * batch_sum(own.sum(0))
        sums = decay * self.sums + batch_sum((1 - decay) * own.T @ data)
        share = counts.mean()
        dead = counts <= LEAST_SHARE * share
        means = sums / torch.where(dead, 1.0, counts)[:, None]
        vectors = torch.where(dead[:, None], batch_rows(data, places), means)
        return {
            "vectors": vectors,
            "counts": torch.where(dead, share, counts),
            "sums": torch.where(dead[:, None], share * vectors, sums),
            "revived": self.revived + dead.sum(),
        }

    def follow(self, moved: dict[str, Tensor]) -> None:
        r"""Sets the buffers to what :meth:`moved` returned."""
        with torch.no_grad():
            for name, value in moved.items():
                getattr(self, name).copy_(value)

    def extra_repr(self) -> str:
        return f"{self.num_codes}, {self.code_dim}"


class Grid(Codebook):
    r"""Creates the codebook of all vectors whose elements are at `L` levels from -1 to 1.

    It stays where it is.

    Arguments:
        num_levels: The number `L` of levels, at least 2.
        code_dim: The size `D` of the vectors, of which there are :math:`L^D`.
    """

    MOST = 65_536

    def __init__(self, num_levels: int, code_dim: int) -> None:
        if num_levels < 2 or num_levels**code_dim > self.MOST:
            raise ValueError(
                f"Expected 2 levels or more, and up to {self.MOST} codes; got {num_levels} levels "
                f"of {code_dim} features."
            )
        super().__init__(num_levels**code_dim, code_dim)
        levels = [torch.linspace(-1.0, 1.0, num_levels)] * code_dim
        self.vectors.copy_(torch.cartesian_prod(*levels).reshape(-1, code_dim))

    def moved(self, e: Tensor, decay: float) -> dict[str, Tensor]:
        return {}
