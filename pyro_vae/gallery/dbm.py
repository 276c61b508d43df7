r"""The deep Boltzmann machine: two hidden layers, mean field and persistent chains."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..counted import Size, counted
from ..statistics import Mean
from .annealing import MOST_UNITS, log_sum
from .base import Density
from .boltzmann import Boltzmann


class DBM(Boltzmann):
    r"""Creates a deep Boltzmann machine of bits with two hidden layers.

    .. math::
        p(v, h_1, h_2) = \frac{1}{Z} e^{-E}, \quad
        -E = b^\top v + c_1^\top h_1 + c_2^\top h_2 + v^\top W_1 h_1 + h_1^\top W_2 h_2

    Hidden units depend on each other given :math:`v`: their expectation is that of a mean field
    :math:`q(h) = \prod_j \mu_j^{h_j} (1 - \mu_j)^{1 - h_j}`, that of the model one of persistent
    chains. The mean field gives a lower bound,

    .. math:: \log p(v) \ge -E(v, \mu_1, \mu_2) + \mathrm{H}(q) - \log Z,

    which it is here if the first hidden layer has at most 20 units, so that :math:`Z` can be
    summed; otherwise :math:`Z` is estimated by annealed importance sampling, and it may be above.

    References:
        | Deep Boltzmann Machines (Salakhutdinov & Hinton, 2009), Eq. 8 to 13, Alg. 1, Sec. 4

    Arguments:
        x_shape: The shape of one datum.
        num_hidden: The number of units of the first hidden layer.
        num_top: The number of units of the second.
        mean_field_steps: The updates of the mean field for each datum.
        gibbs_steps: The steps of the chains for each step of training.
        num_chains: The number of persistent chains, and of those that estimate :math:`Z`.
        num_temperatures: The temperatures that estimate :math:`Z`.
        sample_steps: The Gibbs steps of a sample, from independent bits with the data's mean.
        x_mean: The mean of the training data, where visible biases start.
    """

    formula = "exp(b v + c1 h1 + c2 h2 + v W1 h1 + h1 W2 h2) / Z"
    advice = "for bits: two layers of codes, each of which explains the other"
    density: Density = "estimate"

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_hidden: int = 100,
        num_top: int = 50,
        mean_field_steps: Size = 10,
        gibbs_steps: Size = 5,
        num_chains: int = 100,
        num_temperatures: int = 1000,
        sample_steps: Size = 1000,
        x_mean: Tensor | None = None,
    ) -> None:
        super().__init__(x_shape, gibbs_steps, num_chains, num_temperatures, sample_steps, x_mean)
        self.mean_field_steps = mean_field_steps
        self.low = nn.Parameter(0.01 * torch.randn(len(self.visible_bias), num_hidden))
        self.high = nn.Parameter(0.01 * torch.randn(num_hidden, num_top))
        self.hidden_bias = nn.Parameter(torch.zeros(num_hidden))
        self.top_bias = nn.Parameter(torch.zeros(num_top))
        self.visible_chains: Tensor
        self.top_chains: Tensor
        self.register_buffer("visible_chains", self.start(num_chains))
        self.register_buffer("top_chains", torch.bernoulli(torch.full((num_chains, num_top), 0.5)))
        if num_hidden <= MOST_UNITS:
            self.density = "lower bound"

    # --- The model ------------------------------------------------------------------------------

    def energy(self, v: Tensor, h: Tensor, top: Tensor) -> Tensor:
        r"""Returns :math:`E(v, h_1, h_2)` of states, or of their independent means, of shape
        `(B,)`."""
        inside = self.hidden_bias + v @ self.low + top @ self.high.T
        return -(v @ self.visible_bias) - (h * inside).sum(-1) - top @ self.top_bias

    def mean_field(self, v: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the means :math:`\mu_1` and :math:`\mu_2` of the hidden units."""
        below = self.hidden_bias + v @ self.low
        top = torch.full_like(self.top_bias, 0.5).expand(len(v), -1)
        for _ in range(self.mean_field_steps):
            h = (below + top @ self.high.T).sigmoid()
            top = (self.top_bias + h @ self.high).sigmoid()
        return (below + top @ self.high.T).sigmoid(), top

    @torch.no_grad()
    def gibbs(self, v: Tensor, top: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns states of all layers after some steps of block Gibbs sampling."""
        for _ in range(steps):
            h = torch.bernoulli((self.hidden_bias + v @ self.low + top @ self.high.T).sigmoid())
            v = torch.bernoulli((self.visible_bias + h @ self.low.T).sigmoid())
            top = torch.bernoulli((self.top_bias + h @ self.high).sigmoid())
        return v, h, top

    def loss(self, x: Tensor) -> Tensor:
        v = x.flatten(1)
        with torch.no_grad():
            h, top = self.mean_field(v)
        states = self.gibbs(self.visible_chains, self.top_chains, self.gibbs_steps)
        self.visible_chains, _, self.top_chains = states
        return self.energy(v, h, top) - self.energy(*states).mean()

    # --- What it has ----------------------------------------------------------------------------

    def log_f(self, v: Tensor) -> Tensor:
        h, top = self.mean_field(v)
        return _entropy(h) + _entropy(top) - self.energy(v, h, top)

    def summed_log_z(self) -> Tensor | None:
        if len(self.hidden_bias) > MOST_UNITS:
            return None
        return log_sum(lambda h: self._log_hidden(h, 1.0), len(self.hidden_bias), self.low)

    def _log_hidden(self, h: Tensor, heat: float) -> Tensor:
        r"""Returns :math:`\log \sum_{v, h_2} e^{-E(v, h_1, h_2)}`, with all but the visible biases
        of the base times `heat`."""
        visible = softplus(self.bias_at(heat) + heat * (h @ self.low.T)).sum(-1)
        top = softplus(heat * (self.top_bias + h @ self.high)).sum(-1)
        return heat * (h @ self.hidden_bias) + visible + top

    @torch.no_grad()
    def annealed_log_z(self) -> Mean:
        r"""Estimates :math:`\log Z` by annealed importance sampling, in nats with its error.

        The states are those of the first hidden layer, given which the others can be summed.
        """
        num_hidden, num_top = self.high.shape
        start = torch.bernoulli(self.low.new_full((self.num_chains, num_hidden), 0.5))

        def transition(h: Tensor, heat: float) -> Tensor:
            v = torch.bernoulli((self.bias_at(heat) + heat * (h @ self.low.T)).sigmoid())
            top = torch.bernoulli((heat * (self.top_bias + h @ self.high)).sigmoid())
            inside = self.hidden_bias + v @ self.low + top @ self.high.T
            return torch.bernoulli((heat * inside).sigmoid())

        return self.annealed(self._log_hidden, transition, start, num_hidden + num_top)

    def sample(self, num_samples: int) -> Tensor:
        top = torch.bernoulli(torch.full_like(self.top_bias, 0.5).expand(num_samples, -1))
        v, _, _ = self.gibbs(self.start(num_samples), top, self.sample_steps)
        return v.reshape(num_samples, *self.x_shape)

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat(self.mean_field(x.flatten(1)), dim=1)

    def reconstruct(self, x: Tensor) -> Tensor:
        h, _ = self.mean_field(x.flatten(1))
        return (self.visible_bias + h @ self.low.T).sigmoid().reshape(x.shape)


def _entropy(mean: Tensor) -> Tensor:
    r"""The entropy of independent bits, in nats, of shape `(B,)`."""
    return -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum(-1)
