r"""The generative stochastic network: a Markov chain that learns to step back to the data."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from ..counted import Size, counted
from ..nn import MLP
from .autoencoder import salt_and_pepper
from .base import Relative


class GSN(Relative):
    r"""Creates a generative stochastic network of bits, with one layer of noisy hidden units.

    .. math::
        \tilde x \sim C(\tilde x \mid x), \quad
        h = \tanh(f(\tilde x) + \sigma \epsilon) + \sigma \epsilon', \quad
        x' \sim p(x' \mid h)

    Steps of this chain leave the distribution of the data invariant if :math:`p(x \mid h)` is the
    conditional distribution of the data given the corrupted state; the sampler is the chain. It is
    trained by walkback: the chain runs from a datum, and must find it again at each step.

    References:
        | Generalized Denoising Auto-Encoders as Generative Models (Bengio et al., 2013), Alg. 1
        | Deep Generative Stochastic Networks Trainable by Backprop (Bengio et al., 2014), Sec. 3

    Arguments:
        x_shape: The shape of one datum.
        num_hidden: The number of hidden units.
        noise: The probability that an element is replaced by 0 or 1, with even odds.
        hidden_noise: The standard deviation :math:`\sigma`.
        walkback: The steps of the chain in training; one makes it a denoising autoencoder.
        sample_steps: The steps of a sample, from independent even bits.
        hidden_features: The size of each hidden layer between `x` and `h`; the way back mirrors
            it.
        activation: Any activation of torch.nn, by name.
    """

    formula = "x' ~ p(x' | h), h of x and noise"
    advice = "for bits: a sampler that is a chain of denoising steps"
    support = constraints.boolean
    lacks: ClassVar[Mapping[str, str]] = {
        "log_prob": "its distribution is where its chain settles, known by draws alone"
    }

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_hidden: int = 100,
        noise: float = 0.2,
        hidden_noise: float = 0.1,
        walkback: Size = 2,
        sample_steps: Size = 200,
        hidden_features: Sequence[int] = (200,),
        activation: str = "Tanh",
    ) -> None:
        super().__init__(x_shape)
        if not 0 <= noise <= 1 or not 0 <= hidden_noise < inf:
            raise ValueError(
                "Expected noise as a probability and hidden_noise of zero or more; got "
                f"{noise:g} and {hidden_noise:g}."
            )
        self.noise, self.hidden_noise = noise, hidden_noise
        self.walkback, self.sample_steps = walkback, sample_steps
        self.encoder = MLP(self.x_shape, hidden_features, num_hidden, activation)
        self.decoder = MLP(num_hidden, [*hidden_features][::-1], self.x_shape, activation)

    def logits(self, x: Tensor) -> Tensor:
        r"""Returns the logits of :math:`p(x' \mid h)` for a noisy :math:`h` of each datum."""
        before: Tensor = self.encoder(salt_and_pepper(x, self.noise))
        h = (before + self.hidden_noise * torch.randn_like(before)).tanh()
        y: Tensor = self.decoder(h + self.hidden_noise * torch.randn_like(h))
        return y

    def loss(self, x: Tensor) -> Tensor:
        r"""Returns :math:`-\log p(x \mid h)`, in nats, the mean over the steps of walkback."""
        state, total = x, torch.zeros_like(x.flatten(1)[:, 0])
        for _ in range(self.walkback):
            logits = self.logits(state)
            errors = binary_cross_entropy_with_logits(logits, x, reduction="none")
            total = total + errors.flatten(1).sum(1)
            state = torch.bernoulli(logits.detach().sigmoid())
        return total / self.walkback

    @torch.no_grad()
    def chain(self, x: Tensor, steps: int) -> Tensor:
        r"""Returns where the chain is some steps after `x`, of the shape of `x`."""
        for _ in range(steps):
            x = torch.bernoulli(self.logits(x).sigmoid())
        return x

    def sample(self, num_samples: int) -> Tensor:
        like = next(self.parameters())
        even = like.new_full((num_samples, *self.x_shape), 0.5)
        return self.chain(torch.bernoulli(even), self.sample_steps)

    def encode(self, x: Tensor) -> Tensor:
        code: Tensor = self.encoder(x)
        return code.tanh()

    def reconstruct(self, x: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.encode(x))
        return y.sigmoid()
