r"""The evidence lower bound by score-function gradients, and baselines for them."""

from collections.abc import Callable
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..counted import counted
from ..nn import MLP
from ..programs import Terms
from ..ranks import batch_mean
from .base import Objective


class ScoreFunction(Objective):
    r"""Creates the ELBO for latents that cannot be reparameterized.

    .. math:: \nabla_\phi \mathcal{L} = \mathbb{E} [(f(z) - b(x)) \nabla_\phi \log q(z \mid x)],
        \quad f(z) = \log p(x, z) - \log q(z \mid x)

    Any baseline `b` leaves the mean alone; a good one cuts the variance. With several samples
    the mean of the others is one, and is subtracted beside that of the objective.

    References:
        | Black Box Variational Inference (Ranganath et al., 2014), Eq. 2
        | https://arxiv.org/abs/1401.0118
        | Neural Variational Inference and Learning in Belief Networks (Mnih & Gregor, 2014)
        | https://arxiv.org/abs/1402.0030
        | Buy 4 REINFORCE Samples, Get a Baseline for Free! (Kool et al., 2019)

    Arguments:
        num_particles: The number of samples per datum.
        baseline: ``"average"`` is a running mean, ``"neural"`` a network of `x`, trained along by
            squared error, and ``"none"`` is zero.
        x_shape: The shape of one datum, for the neural baseline.
        supervision: The weight :math:`\alpha` of :math:`\log q(y \mid x)` where a latent `y` is
            known, which is added to the bound (Kingma et al., 2014, Eq. 9).
    """

    name = "score-function"
    advice = "the ELBO by log-derivatives, with a baseline; for any posterior"
    needs = ("density",)

    @counted
    def __init__(
        self,
        num_particles: int = 1,
        baseline: Literal["average", "neural", "none"] = "average",
        x_shape: tuple[int, ...] | None = None,
        supervision: float = 0.0,
    ) -> None:
        super().__init__(num_particles)
        self.supervision = supervision
        self.baseline: nn.Module | None = None
        if baseline == "average":
            self.baseline = Average()
        elif baseline == "neural":
            if x_shape is None:
                raise ValueError("Expected x_shape for a neural baseline; got none.")
            self.baseline = Neural(x_shape)

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""As :meth:`Objective.forward`; the loss also trains a neural baseline."""
        teach = self.supervision > 0
        w = self.weigh(model, guide, x, gradient="score", teach=teach, **kwargs)
        value = w.model if w.taught is None else w.model + self.supervision * w.taught
        target = (value - w.guide).detach()

        baseline, error = target.new_zeros(()), target.new_zeros(target.shape[-1])
        if self.num_particles > 1:
            baseline = (target.sum(0) - target) / (self.num_particles - 1)
        if self.baseline is not None:
            rest = target - baseline
            guess = self.baseline(x, rest)
            if guess.dim() and guess.shape != rest.shape[1:]:
                raise ValueError(
                    "Expected every site in one plate of data for a neural baseline, which "
                    f"guesses datum by datum; got {rest.shape[-1]} elements for {len(x)} data. "
                    "Use the average baseline."
                )
            baseline = baseline + guess.detach()
            if guess.requires_grad:
                error = (rest - guess).square().mean(0)

        score = (target - baseline) * w.score
        gradient = (value + score).mean(0) - error
        return w.terms(gradient - gradient.detach() + target.mean(0))


class Average(nn.Module):
    r"""Creates a baseline that is a running mean: one number, whatever the batch.

    Arguments:
        decay: How much of the past each batch leaves.
    """

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.mean: Tensor
        self.steps: Tensor
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    @torch.no_grad()
    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        r"""Returns the mean of what came before, a 0-dim tensor, then takes in `target`."""
        past = self.mean.to(target.dtype) / (1 - self.decay**self.steps).clamp(min=1e-6)
        batch = batch_mean(target.mean())
        if self.training:
            mean, finite = self.decay * self.mean + (1 - self.decay) * batch, batch.isfinite()
            self.mean.copy_(torch.where(finite, mean, self.mean))
            self.steps.add_(finite)
        return past


class Neural(nn.Module):
    r"""Creates a baseline that a network guesses from `x`, its scale tracked by a running mean.

    Arguments:
        x_shape: The shape of one datum.
        hidden_features: The size of the hidden layer.
    """

    def __init__(self, x_shape: tuple[int, ...], hidden_features: int = 100) -> None:
        super().__init__()
        self.net = MLP(prod(x_shape), [hidden_features], 1)
        self.average = Average()
        self.scale = float(prod(x_shape)) ** 0.5

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        r"""Returns the guess, of shape `(B,)`, then takes in `target`."""
        rows = torch.nan_to_num(x).reshape(len(x), -1)
        return self.average(x, target) + self.scale * self.net(rows)[..., 0]
