from collections.abc import Sequence
from typing import Any, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Prior
from ..distributions import Autoregressive, Coded, CodeVectors
from ..nn import MADE, Codebook


class Codes(Prior):
    r"""Creates the learned prior :math:`p(z) = \prod_j p(k_j \mid k_{<j})` of codes in an order.

    The rate of a datum is :math:`-\log p(k)`, which this prior learns while the codes are
    learned; an even code would cost :math:`n \log K`.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017), Sec. 3.3
        | https://arxiv.org/abs/1711.00937

    Arguments:
        codebook: The codebook of the posterior
            (:attr:`pyro_vae.posteriors.VectorQuantized.codebook`).
        num_blocks: The number `n` of codes of a datum.
        net: Maps one-hot codes, end to end, of shape `(*batch, n * K)`, to logits of the codes
            :math:`1 \ldots K - 1` against code 0, of shape `(*batch, n, K - 1)`: of each from
            those before it.
    """

    formula = "p(z) = prod_j p(k_j | k_<j), the codes of z in an order, by a masked network"
    advice = "learns how long codes are, with the vector-quantized posterior"
    support_name = "code vectors"

    def __init__(self, codebook: Codebook, num_blocks: int, net: nn.Module) -> None:
        super().__init__()
        self.codebook, self.num_blocks, self.net = codebook, num_blocks, net
        self.support = CodeVectors(codebook)

    @classmethod
    def from_recipe(cls, posterior: Any, hidden_features: Sequence[int] = (256,)) -> Self:
        r"""Builds the prior with a masked autoencoder.

        Arguments:
            posterior: The posterior, whose codebook it shares.
            hidden_features: The size of each hidden layer of the network.

        Raises:
            ValueError: The posterior has no codebook.
        """
        codebook = getattr(posterior, "codebook", None)
        if codebook is None:
            raise ValueError(
                "Expected a posterior with a codebook for a prior of codes, vector-quantized; got "
                f"{type(posterior).__name__}."
            )
        size, count = codebook.num_codes, posterior.num_blocks
        return cls(codebook, count, MADE(count, hidden_features, size - 1, inputs=size))

    def forward(self) -> dist.Distribution:
        vectors = self.codebook.vectors
        even = vectors.new_zeros(self.num_blocks, len(vectors) - 1)
        return Coded(Autoregressive(self._logits, even), self.codebook)

    def _logits(self, codes: Tensor, even: Tensor) -> Tensor:
        places = torch.arange(self.codebook.num_codes, device=codes.device)
        return even + self.net((codes[..., None] == places).to(even.dtype).flatten(-2))
