r"""Laws of vectors from a codebook."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from ..nn import Codebook

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
