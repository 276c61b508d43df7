r"""Normalizing constants: a sum over all states, or annealed importance sampling."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import isnan, log

import torch
from torch import Tensor

from ..statistics import Mean

MOST_UNITS = 20
r"""Up to this many bits, all of their states are summed over."""

STATES_AT_ONCE = 2**14


def all_states(num_units: int, like: Tensor) -> Iterator[Tensor]:
    r"""Yields all :math:`2^n` states of bits in chunks of shape `(C, num_units)`."""
    places = torch.arange(num_units, device=like.device)
    for numbers in torch.arange(2**num_units, device=like.device).split(STATES_AT_ONCE):
        yield ((numbers[:, None] >> places) & 1).to(like.dtype)


def log_sum(log_f: Callable[[Tensor], Tensor], num_units: int, like: Tensor) -> Tensor:
    r"""Returns :math:`\log \sum_h f(h)` over all states of `num_units` bits, of shape `()`."""
    return torch.stack([log_f(h).logsumexp(0) for h in all_states(num_units, like)]).logsumexp(0)


def anneal(
    log_f: Callable[[Tensor, float], Tensor],
    transition: Callable[[Tensor, float], Tensor],
    states: Tensor,
    num_temperatures: int,
) -> Tensor:
    r"""Returns log weights of annealed importance sampling, whose weights have the mean
    :math:`Z_1 / Z_0`.

    References:
        | Annealed Importance Sampling (Neal, 2001), Eq. 10 and 11

    Arguments:
        log_f: The unnormalized log density of states at an inverse temperature.
        transition: Draws new states, leaving the density at an inverse temperature invariant.
        states: Draws at inverse temperature 0, of shape `(num_chains, ...)`.
        num_temperatures: The number of steps from 0 to 1.

    Returns:
        The log weights, of shape `(num_chains,)`, in double precision.
    """
    log_weights = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    for before, after in pairwise(torch.linspace(0, 1, num_temperatures + 1).tolist()):
        log_weights += log_f(states, after).double() - log_f(states, before).double()
        states = transition(states, after)
    return log_weights


def log_mean(log_weights: Tensor) -> Mean:
    r"""Returns the logarithm of the mean of weights, in nats, with its standard error by the delta
    method.

    Example:
        >>> print(log_mean(torch.tensor([0.0, 0.0])))
        0.000 +- 0.000 nats
    """
    highest = float(log_weights.max())
    mean = Mean.of((log_weights - highest).exp())
    error = mean.se if isnan(mean.se) else mean.se / float(mean)
    return Mean(log(float(mean)) + highest, error, "nats")
