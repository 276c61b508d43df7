r"""The restricted Boltzmann machine, trained by contrastive divergence."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ..counted import Size, counted
from ..statistics import Mean
from .annealing import MOST_UNITS, log_sum
from .base import Density
from .boltzmann import Boltzmann


class RBM(Boltzmann):
    r"""Creates a restricted Boltzmann machine of bits.

    .. math::
        p(v) = \frac{1}{Z} \sum_h e^{b^\top v + c^\top h + v^\top W h} = \frac{e^{-F(v)}}{Z}, \quad
        F(v) = -b^\top v - \sum_j \log(1 + e^{c_j + (W^\top v)_j})

    The gradient of :math:`-\log p(v)` is that of :math:`F(v) - \mathbb{E}_{p(v')} F(v')`. The loss
    has draws of a Gibbs chain in the place of the expectation: `gibbs_steps` after the data
    (contrastive divergence), or after where the chains were at the last step (persistent). It is a
    loss by its gradient; its value is no bound.

    :math:`Z` is summed if one of the two layers has at most 20 units; otherwise it is estimated by
    annealed importance sampling, whose :math:`\log \hat Z` is too low in the mean.

    References:
        | Training Products of Experts by Minimizing Contrastive Divergence (Hinton, 2002)
        | Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient
        | (Tieleman, 2008), Sec. 2.3
        | On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov & Murray, 2008),
        | Eq. 15 to 18

    Arguments:
        x_shape: The shape of one datum.
        num_hidden: The number of hidden units.
        persistent: Whether chains go on from where they were, instead of from the data.
        gibbs_steps: The steps of a chain for each step of training.
        num_chains: The number of persistent chains, and of those that estimate :math:`Z`.
        num_temperatures: The temperatures that estimate :math:`Z`.
        sample_steps: The Gibbs steps of a sample, from independent bits with the data's mean.
        x_mean: The mean of the training data, where visible biases start.
    """

    formula = "exp(b v + c h + v W h) / Z"
    advice = "for bits: codes, a sampler by Gibbs chains, and log p(x) but for Z"
    density: Density = "stochastic upper bound"

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_hidden: int = 100,
        persistent: bool = True,
        gibbs_steps: Size = 1,
        num_chains: int = 100,
        num_temperatures: int = 1000,
        sample_steps: Size = 1000,
        x_mean: Tensor | None = None,
    ) -> None:
        super().__init__(x_shape, gibbs_steps, num_chains, num_temperatures, sample_steps, x_mean)
        self.persistent = persistent
        self.weights = nn.Parameter(0.01 * torch.randn(len(self.visible_bias), num_hidden))
        self.hidden_bias = nn.Parameter(torch.zeros(num_hidden))
        self.chains: Tensor
        self.register_buffer("chains", self.start(num_chains))
        if min(self.weights.shape) <= MOST_UNITS:
            self.density = "exact"

    # --- The model ------------------------------------------------------------------------------

    def free_energy(self, v: Tensor) -> Tensor:
        r"""Returns :math:`F(v)` of bits of shape `(B, D)`, of shape `(B,)`."""
        return -v @ self.visible_bias - softplus(self.hidden_bias + v @ self.weights).sum(-1)

    def gibbs(self, v: Tensor, steps: int = 1) -> Tensor:
        r"""Returns states after some steps of block Gibbs sampling, of the shape of `v`."""
        with torch.no_grad():
            for _ in range(steps):
                h = torch.bernoulli((self.hidden_bias + v @ self.weights).sigmoid())
                v = torch.bernoulli((self.visible_bias + h @ self.weights.T).sigmoid())
        return v

    def loss(self, x: Tensor) -> Tensor:
        v = x.flatten(1)
        if not self.persistent:
            return self.free_energy(v) - self.free_energy(self.gibbs(v, self.gibbs_steps)).mean()
        self.chains = self.gibbs(self.chains, self.gibbs_steps)
        return self.free_energy(v) - self.free_energy(self.chains).mean()

    # --- What it has ----------------------------------------------------------------------------

    def log_f(self, v: Tensor) -> Tensor:
        return -self.free_energy(v)

    def score(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\log p(x)` if it is exact, else the pseudo-likelihood
        :math:`\sum_d \log p(x_d \mid x_{-d})`, which needs no :math:`Z`."""
        if self.density == "exact":
            return self.log_prob(x)
        v = x.flatten(1)
        energy, total = self.free_energy(v), torch.zeros_like(v[:, 0])
        for d in range(v.shape[1]):
            other = v.clone()
            other[:, d] = 1 - v[:, d]
            total += logsigmoid(self.free_energy(other) - energy)
        return total

    def summed_log_z(self) -> Tensor | None:
        visible, hidden = self.weights.shape
        if hidden <= min(visible, MOST_UNITS):
            return log_sum(self._log_hidden, hidden, self.weights)
        if visible <= MOST_UNITS:
            return log_sum(self.log_f, visible, self.weights)
        return None

    def _log_hidden(self, h: Tensor) -> Tensor:
        r"""Returns :math:`\log \sum_v e^{-E(v, h)}`."""
        return h @ self.hidden_bias + softplus(self.visible_bias + h @ self.weights.T).sum(-1)

    @torch.no_grad()
    def annealed_log_z(self) -> Mean:
        r"""Estimates :math:`\log Z` by annealed importance sampling, in nats with its error.

        The chains begin at independent bits with the mean of the data, and weights and hidden
        biases grow linearly to their values.
        """

        def log_f(v: Tensor, heat: float) -> Tensor:
            hidden = softplus(heat * (self.hidden_bias + v @ self.weights)).sum(-1)
            return v @ self.bias_at(heat) + hidden

        def transition(v: Tensor, heat: float) -> Tensor:
            h = torch.bernoulli((heat * (self.hidden_bias + v @ self.weights)).sigmoid())
            return torch.bernoulli((self.bias_at(heat) + heat * (h @ self.weights.T)).sigmoid())

        num_hidden = self.weights.shape[1]
        return self.annealed(log_f, transition, self.start(self.num_chains), num_hidden)

    def sample(self, num_samples: int) -> Tensor:
        return self.gibbs(self.start(num_samples), self.sample_steps).reshape(
            num_samples, *self.x_shape
        )

    def encode(self, x: Tensor) -> Tensor:
        return (self.hidden_bias + x.flatten(1) @ self.weights).sigmoid()

    def reconstruct(self, x: Tensor) -> Tensor:
        mean = (self.visible_bias + self.encode(x) @ self.weights.T).sigmoid()
        return mean.reshape(x.shape)
