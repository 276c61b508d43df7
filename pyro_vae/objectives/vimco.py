r"""The importance weighted bound by score-function gradients."""

from collections.abc import Callable
from math import log
from typing import Any

import torch
from torch import Tensor

from ..programs import Terms
from .base import Objective


class VIMCO(Objective):
    r"""Creates the importance weighted bound for latents that cannot be reparameterized.

    .. math:: \nabla_\phi \mathcal{L}_K = \mathbb{E} \sum_k
        (\hat{L} - \hat{L}_{-k}) \nabla_\phi \log q(z_k \mid x)
        + \sum_k \tilde{w}_k \nabla_\phi \log w_k

    :math:`\hat{L}_{-k}` is the bound with :math:`w_k` replaced by the geometric mean of the
    others: a baseline that needs no parameters.

    References:
        | Variational Inference for Monte Carlo Objectives (Mnih & Rezende, 2016), Eq. 10
        | https://arxiv.org/abs/1602.06725

    Arguments:
        num_particles: The number `K` of samples per datum, at least 2.

    Raises:
        ValueError: `num_particles` is below 2.
    """

    name = "vimco"
    advice = "the importance weighted bound by the score function; for any posterior"
    needs = ("density",)
    bound = "importance weighted"

    def __init__(self, num_particles: int = 8) -> None:
        super().__init__(num_particles)
        if num_particles < 2:
            raise ValueError(
                f"Expected at least 2 particles for VIMCO; got {num_particles}. Set num_particles."
            )

    @property
    def summary(self) -> str:
        return f"importance weighted bound of {self.samples}, by the score function"

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""As :meth:`Objective.forward`."""
        w = self.weigh(model, guide, x, gradient="score", **kwargs)
        bound = w.log_weights.logsumexp(0) - log(self.num_particles)
        signal = bound.detach() - self.without_each(w.log_weights.detach())
        surrogate = bound + (signal * w.score).sum(0)
        value = surrogate - surrogate.detach() + bound.detach()
        return w.terms(value * w.common_scale("VIMCO"))

    def without_each(self, log_weights: Tensor) -> Tensor:
        r"""The bound with each weight in turn replaced by the others' mean, of shape `(K, B)`."""
        count = self.num_particles
        others = (log_weights.sum(0) - log_weights) / (count - 1)
        diagonal = torch.eye(count, dtype=torch.bool, device=log_weights.device)[..., None]
        return torch.where(diagonal, others, log_weights).logsumexp(1) - log(count)
