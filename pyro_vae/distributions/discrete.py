r"""Vectors of discrete features whose every value can be listed."""

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, register_kl
from torch.distributions.constraints import Constraint
from torch.nn.functional import softplus

MAX_STATES = 4096


class IndependentBernoulli(dist.Independent):
    r"""Creates :math:`\prod_l \mathrm{Bernoulli}(z_l; f_l)`, whose :math:`2^L` values are listed.

    Pyro enumerates a Bernoulli, but not a vector of them made by ``to_event(1)``.

    Arguments:
        logits: The logits :math:`f`, of shape `(*batch, L)`; values are listed for L up to 12.

    Example:
        >>> IndependentBernoulli(torch.zeros(5, 3)).enumerate_support(expand=False).shape
        torch.Size([8, 1, 3])
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(dist.Bernoulli(logits=logits), 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "IndependentBernoulli":
        return IndependentBernoulli(
            self.base_dist.logits.expand(*torch.Size(batch_shape), *self.event_shape)
        )

    @property
    def has_enumerate_support(self) -> bool:
        return 2 ** self.event_shape[0] <= MAX_STATES

    def enumerate_support(self, expand: bool = True) -> Tensor:
        size, logits = self.event_shape[0], self.base_dist.logits
        _check_states(2, size)
        places = torch.arange(size, device=logits.device)
        codes = torch.arange(2**size, device=logits.device)
        bits = (codes[:, None] >> places & 1).to(logits.dtype)
        return _table(bits, self.batch_shape, expand)


@register_kl(IndependentBernoulli, IndependentBernoulli)
def _kl_of_bits(q: IndependentBernoulli, p: IndependentBernoulli) -> Tensor:
    a, b = q.base_dist.logits, p.base_dist.logits
    return (a.sigmoid() * (a - b) - softplus(a) + softplus(b)).sum(-1)


class OneHotsConstraint(Constraint):
    r"""Vectors of blocks, each block with one 1 and zeros.

    Arguments:
        num_categories: The size `K` of a block.
    """

    is_discrete = True
    event_dim = 1

    def __init__(self, num_categories: int) -> None:
        self.num_categories = num_categories
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        blocks = value.unflatten(-1, (-1, self.num_categories))
        return constraints.one_hot.check(blocks).all(-1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OneHotsConstraint) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(self.num_categories)


class OneHots(dist.TorchDistribution):
    r"""Creates :math:`\prod_n \mathrm{Categorical}(z_n; f_n)` of one-hot blocks, laid end to end.

    Arguments:
        logits: The logits of `N` variables with `K` categories, of shape `(*batch, N * K)`.
        num_categories: The number `K`.

    Example:
        >>> OneHots(torch.zeros(6), num_categories=3).enumerate_support().shape
        torch.Size([9, 6])
    """

    arg_constraints = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, num_categories: int) -> None:
        self.num_categories = num_categories
        self.blocks = dist.OneHotCategorical(
            logits=logits.unflatten(-1, (-1, num_categories)), validate_args=False
        )
        self.logits = self.blocks.logits.flatten(-2)  # normalized
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "OneHots":
        logits = self.logits.expand(*torch.Size(batch_shape), *self.event_shape)
        return OneHots(logits, self.num_categories)

    @property
    def support(self) -> Constraint:
        return OneHotsConstraint(self.num_categories)

    @property
    def mean(self) -> Tensor:
        return self.blocks.probs.flatten(-2)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return self.blocks.sample(sample_shape).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        return (self.logits * value).sum(-1)

    def entropy(self) -> Tensor:
        return self.blocks.entropy().sum(-1)

    @property
    def has_enumerate_support(self) -> bool:
        size = self.event_shape[0] // self.num_categories
        return self.num_categories**size <= MAX_STATES

    def enumerate_support(self, expand: bool = True) -> Tensor:
        count = self.event_shape[0] // self.num_categories
        _check_states(self.num_categories, count)
        rows = torch.eye(self.num_categories, dtype=self.logits.dtype, device=self.logits.device)
        index = torch.arange(self.num_categories, device=self.logits.device)
        codes = torch.cartesian_prod(*[index] * count).reshape(-1, count)
        return _table(rows[codes].flatten(-2), self.batch_shape, expand)


@register_kl(OneHots, OneHots)
def _kl(q: OneHots, p: OneHots) -> Tensor:
    return (q.mean * (q.logits - p.logits)).sum(-1)


def _check_states(base: int, count: int) -> None:
    if base**count > MAX_STATES:
        raise ValueError(
            f"Expected at most {MAX_STATES} values of z to list; got {base}**{count}. Use the "
            "score function, or a smaller latent_dim."
        )


def _table(values: Tensor, batch_shape: torch.Size, expand: bool) -> Tensor:
    r"""States of shape `(S, E)` as `(S, *batch, E)`, expanded or with ones."""
    states, size = values.shape
    values = values.reshape(states, *[1] * len(batch_shape), size)
    return values.expand(states, *batch_shape, size) if expand else values


def check_blocks(latent_dim: int, num_categories: int | None) -> int:
    r"""Returns the size of the blocks that `latent_dim` features fall into.

    Raises:
        ValueError: They do not fall into blocks of at least 2.
    """
    size = latent_dim if num_categories is None else num_categories
    if size < 2 or latent_dim % size:
        raise ValueError(
            f"Expected latent_dim to be a multiple of num_categories, at least 2; got "
            f"{latent_dim} and {size}."
        )
    return size


class Levels(dist.Categorical):
    r"""Creates a categorical over the numbers :math:`0 \ldots n - 1`, which have a mean.

    Arguments:
        logits: The logits, of shape `(*batch, n)`.
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Levels":
        return Levels(self.logits.expand(*torch.Size(batch_shape), -1))

    @property
    def mean(self) -> Tensor:
        levels = torch.arange(self.logits.shape[-1], device=self.logits.device)
        return (self.probs * levels).sum(-1)

    @property
    def variance(self) -> Tensor:
        levels = torch.arange(self.logits.shape[-1], device=self.logits.device)
        return (self.probs * (levels - self.mean[..., None]).square()).sum(-1)

    def cdf(self, value: Tensor) -> Tensor:
        levels = torch.arange(self.logits.shape[-1], device=self.logits.device)
        return (self.probs * (levels <= value[..., None])).sum(-1)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return super().sample(sample_shape).to(self.logits.dtype)
