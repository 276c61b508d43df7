r"""What Boltzmann machines have in common: visible biases, a base, and chains that anneal."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from math import log, prod

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn.functional import softplus

from ..statistics import Mean
from .annealing import anneal, log_mean
from .base import Relative


class Boltzmann(Relative):
    r"""Abstract machine of bits, :math:`p \propto e^{-E}`, whose visible biases start at a base:
    independent bits with the mean of the data.

    Arguments:
        x_shape: The shape of one datum.
        gibbs_steps: The steps of a chain for each step of training.
        num_chains: The number of persistent chains, and of those that estimate :math:`Z`.
        num_temperatures: The temperatures that estimate :math:`Z`.
        sample_steps: The Gibbs steps of a sample, from the base.
        x_mean: The mean of the training data.
    """

    support = constraints.boolean

    def __init__(
        self,
        x_shape: Sequence[int],
        gibbs_steps: int,
        num_chains: int,
        num_temperatures: int,
        sample_steps: int,
        x_mean: Tensor | None,
    ) -> None:
        super().__init__(x_shape)
        self.gibbs_steps, self.sample_steps = gibbs_steps, sample_steps
        self.num_chains, self.num_temperatures = num_chains, num_temperatures
        dim = prod(self.x_shape)
        bias = torch.zeros(dim) if x_mean is None else x_mean.flatten().clamp(0.01, 0.99).logit()
        self.visible_bias = nn.Parameter(bias.clone())
        self.base_bias: Tensor
        self.register_buffer("base_bias", bias)

    def start(self, count: int) -> Tensor:
        r"""Returns bits of the base, of shape `(count, D)`."""
        return torch.bernoulli(self.base_bias.sigmoid().expand(count, -1))

    def bias_at(self, heat: float) -> Tensor:
        r"""Returns the visible biases at an inverse temperature: 0 is the base, 1 the machine."""
        return self.base_bias + heat * (self.visible_bias - self.base_bias)

    # --- The density ----------------------------------------------------------------------------

    @abstractmethod
    def log_f(self, v: Tensor) -> Tensor:
        r"""Returns :math:`\log \sum_h e^{-E(v, h)}`, or a lower bound, of shape `(B,)`."""

    @abstractmethod
    def summed_log_z(self) -> Tensor | None:
        r"""Returns :math:`\log Z`, of shape `()`, or None if there are too many states to sum."""

    @abstractmethod
    def annealed_log_z(self) -> Mean:
        r"""Estimates :math:`\log Z` by annealed importance sampling, in nats with its error."""

    def log_z(self) -> Tensor:
        r"""Returns :math:`\log Z`, summed if possible, else estimated, of shape `()`."""
        summed = self.summed_log_z()
        return self.base_bias.new_tensor(self.annealed_log_z()) if summed is None else summed

    def log_prob(self, x: Tensor) -> Tensor:
        return self.log_f(x.flatten(1)) - self.log_z()

    def log_probs(self, chunks: Iterable[Tensor]) -> tuple[Tensor, float]:
        summed = self.summed_log_z()
        log_z = self.annealed_log_z() if summed is None else Mean(summed, 0.0, "nats")
        return torch.cat([self.log_f(x.flatten(1)) for x in chunks]) - float(log_z), log_z.se

    def annealed(
        self,
        log_f: Callable[[Tensor, float], Tensor],
        transition: Callable[[Tensor, float], Tensor],
        start: Tensor,
        num_hidden: int,
    ) -> Mean:
        r"""Estimates :math:`\log Z` by annealed importance sampling from the base.

        Arguments:
            log_f: The unnormalized log density of states at an inverse temperature.
            transition: Draws new states, leaving that density invariant.
            start: States of the base.
            num_hidden: The number of all hidden units, which are even bits in the base.
        """
        estimate = log_mean(anneal(log_f, transition, start, self.num_temperatures))
        log_base = softplus(self.base_bias).sum() + num_hidden * log(2)
        return Mean(float(estimate) + float(log_base), estimate.se, "nats")
