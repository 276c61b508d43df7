r"""Laws of vectors from a codebook."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ..nn import Codebook
from .discrete import Levels

MAX_STATES = 2**16


class CodeVectors(Constraint):
    r"""Vectors of a codebook, end to end.

    Arguments:
        codebook: The codebook.
    """

    is_discrete = True
    event_dim = 1

    def __init__(self, codebook: Codebook) -> None:
        self.codebook = codebook
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        nearest = self.codebook.embed(self.codebook.codes(value))
        return (value == nearest).all(-1)


class Quantized(dist.TorchDistribution):
    r"""Creates the point :math:`z = c_{k(e)}`, the code next to `e`.

    Gradients pass straight to `e`. A point among codes is counted, not measured: its log
    probability is 0, and the bound that it gives is one on :math:`\log p(x)`. The *gradient* of
    this 0 is that of the commitment, :math:`\beta \| e - c \|^2`, which keeps `e` near its codes,
    whatever the objective.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017), Eq. 2 and 3
        | https://arxiv.org/abs/1711.00937

    Arguments:
        encoded: The vectors `e`, end to end, of shape `(*batch, n * D)`.
        codebook: The codebook.
        commitment: The weight :math:`\beta`.
    """

    arg_constraints: dict[str, Any] = {}
    has_rsample = True

    def __init__(self, encoded: Tensor, codebook: Codebook, commitment: float) -> None:
        self.encoded, self.codebook, self.commitment = encoded, codebook, commitment
        self.nearest = codebook.embed(codebook.codes(encoded))
        super().__init__(encoded.shape[:-1], encoded.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Quantized":
        encoded = self.encoded.expand(*torch.Size(batch_shape), -1)
        return Quantized(encoded, self.codebook, self.commitment)

    @property
    def support(self) -> Constraint:
        return CodeVectors(self.codebook)

    @property
    def mean(self) -> Tensor:
        return self.nearest

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.nearest)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        straight = self.nearest + (self.encoded - self.encoded.detach())
        return straight.expand(torch.Size(sample_shape) + straight.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        cost = self.commitment * (self.encoded - self.nearest).square().sum(-1)
        return (cost - cost.detach()).expand(value.shape[:-1])


class Residual(dist.TorchDistribution):
    r"""Creates the law of codes that come one after the other, each for what is left of a vector:

    .. math:: q(k_{j1}, \ldots, k_{jm}) = \prod_d q(k_{jd} \mid k_{j, <d}), \quad
        q(k_{jd} = k \mid k_{j, <d}) \propto
        \exp(-\| e_j - \sum_{i < d} c_{k_{ji}} - c_k \|^2 / \tau)

    Arguments:
        encoded: Vectors of size `D`, end to end, of shape `(*batch, n * D)`.
        codebook: The codebook, one for all depths.
        depth: The number `m` of codes of a vector.
        temperature: The temperature :math:`\tau`.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, encoded: Tensor, codebook: Codebook, depth: int, temperature: Tensor
    ) -> None:
        self.encoded, self.codebook = encoded, codebook
        self.depth, self.temperature = depth, temperature
        count = encoded.shape[-1] // codebook.code_dim * depth
        super().__init__(encoded.shape[:-1], torch.Size([count]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Residual":
        encoded = self.encoded.expand(*torch.Size(batch_shape), -1)
        return Residual(encoded, self.codebook, self.depth, self.temperature)

    @property
    def base_dist(self) -> Levels:
        r"""The laws of the codes, each given the nearest ones before it."""
        nearest = self.codebook.codes(residuals(self.encoded, self.codebook, self.depth))
        return self.given(nearest)

    def given(self, codes: Tensor) -> Levels:
        r"""The laws of all codes, each given those before it, of shape `(*batch, n * m)`."""
        vectors = self.codebook.vectors[codes.long()].unflatten(-2, (-1, self.depth))
        before = vectors.cumsum(-2) - vectors
        left = self.encoded.unflatten(-1, (-1, 1, self.codebook.code_dim)) - before
        return Levels(-self.codebook.distances(left.flatten(-3)) / self.temperature)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.given(value).log_prob(value).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        codes = self.encoded.new_zeros(self._extended_shape(sample_shape))
        place = torch.arange(codes.shape[-1], device=codes.device) % self.depth
        for d in range(self.depth):
            codes = torch.where(place == d, self.given(codes).sample(), codes)
        return codes


def residuals(encoded: Tensor, codebook: Codebook, depth: int) -> Tensor:
    r"""Returns what is left of vectors before each of `depth` nearest codes, the vector first.

    Arguments:
        encoded: Vectors of size `D`, end to end, of shape `(*batch, n * D)`.
        codebook: The codebook.
        depth: The number of codes of a vector.

    Returns:
        A tensor of shape `(*batch, n * depth * D)`, the residuals of a vector after one another.
    """
    left = [encoded]
    for _ in range(depth - 1):
        left.append(left[-1] - codebook.embed(codebook.codes(left[-1])))
    blocks = [each.unflatten(-1, (-1, codebook.code_dim)) for each in left]
    return torch.stack(blocks, -2).flatten(-3)


class Coded(dist.TorchDistribution):
    r"""Creates the law of the vectors of random codes.

    Arguments:
        base: The law of codes :math:`0 \ldots K - 1`, with ``event_shape`` `(n,)`.
        codebook: The codebook.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, base: Any, codebook: Codebook) -> None:
        self.base, self.codebook = base, codebook
        size = base.event_shape[0] * codebook.code_dim
        super().__init__(base.batch_shape, torch.Size([size]), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Coded":
        return Coded(self.base.expand(torch.Size(batch_shape)), self.codebook)

    @property
    def support(self) -> Constraint:
        return CodeVectors(self.codebook)

    @property
    def mean(self) -> Tensor:
        return (self.base.base_dist.probs @ self.codebook.vectors).flatten(-2)

    @property
    def variance(self) -> Tensor:
        square = self.base.base_dist.probs @ self.codebook.vectors.square()
        return (square.flatten(-2) - self.mean.square()).clamp(min=0.0)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.codebook.embed(self.base.sample(sample_shape).long())

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(self.codebook.codes(value).to(value.dtype))

    @property
    def has_enumerate_support(self) -> bool:
        return self.codebook.num_codes ** self.base.event_shape[0] <= MAX_STATES

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count, size = self.base.event_shape[0], self.codebook.num_codes
        if not self.has_enumerate_support:
            raise ValueError(
                f"Expected at most {MAX_STATES} values of z to list; got {size}**{count}."
            )
        index = torch.arange(size, device=self.codebook.vectors.device)
        z = self.codebook.embed(torch.cartesian_prod(*[index] * count).reshape(-1, count))
        z = z.reshape(len(z), *[1] * len(self.batch_shape), -1)
        return z.expand(-1, *self.batch_shape, -1) if expand else z
