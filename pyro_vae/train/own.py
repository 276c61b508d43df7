r"""Steps of the relatives of VAEs, which say themselves what a step is."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from ..config import Train
from ..data import Split
from ..gallery import Relative


class OwnLoss:
    r"""The loss of a relative for rows of the training data; its gradient goes into ``.grad``."""

    noise = None  # random numbers come from PyTorch's generators
    weighs_kl = False  # there is no KL term

    def __init__(self, model: Relative, data: Split) -> None:
        self.model, self.data = model, data

    def __call__(
        self, x: Tensor | None, rows: Tensor, weight: float, capacity: float | None
    ) -> list[Tensor]:
        r"""Returns the loss; `x` are the data of these rows."""
        loss = self.model.loss(self.data.rows(rows) if x is None else x).mean()
        if loss.requires_grad:
            loss.backward()
        return [loss.detach()]


class OwnStep:
    r"""Lets a relative take its step, which may update several groups of parameters in turn.

    One optimizer serves them all: it keeps its state by parameter, and moves those that have a
    gradient.
    """

    compiled, first = False, 0

    def __init__(
        self, model: Relative, optimizer: Optimizer, data: Split, settings: Train
    ) -> None:
        self.model, self.optimizer, self.data = model, optimizer, data
        self.clip_norm = settings.clip_norm

    def __call__(self, rows: Tensor, weight: float, capacity: float | None) -> Tensor:
        metrics = self.model.step(self.data.rows(rows), self.update)
        return torch.stack([value.detach() for value in metrics])

    def update(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
        r"""Steps down the gradient of a loss, unless it is not finite; returns its norm."""
        chosen = [p for p in parameters if p.requires_grad]
        self.optimizer.zero_grad()
        gradients = torch.autograd.grad(loss, chosen, allow_unused=True)
        norm = get_total_norm([g for g in gradients if g is not None])
        if bool(torch.stack([loss.detach(), norm]).isfinite().all()):
            for parameter, gradient in zip(chosen, gradients):
                parameter.grad = gradient
            if self.clip_norm is not None:
                clip_grads_with_norm_(chosen, self.clip_norm, norm)
            self.optimizer.step()
        return norm
