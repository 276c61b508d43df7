r"""The Renyi bound."""

from collections.abc import Callable
from math import log
from typing import Any

from torch import Tensor

from ..programs import Terms
from .base import Objective


class Renyi(Objective):
    r"""Creates the variational Renyi bound.

    .. math:: \mathcal{L}_\alpha(x) = \frac{1}{1 - \alpha}
        \mathbb{E} \log \frac{1}{K} \sum_k w_k^{1 - \alpha}

    :math:`\alpha = 0` is :class:`IWAE`, :math:`\alpha \to 1` the ELBO, :math:`\alpha > 1` lies
    below it. The logarithm is taken datum by datum, before any subsampling scale.

    References:
        | Renyi Divergence Variational Inference (Li & Turner, 2016), Eq. 14
        | https://arxiv.org/abs/1602.02311

    Arguments:
        num_particles: The number `K` of samples per datum.
        alpha: The order :math:`\alpha`, not negative and not 1: below 0 there is no lower bound.

    Raises:
        ValueError: `alpha` is 1, or negative.
    """

    name = "renyi"
    advice = "the Renyi bound of order alpha, between the ELBO and log p(x) for alpha below 1"
    needs = ("path", "density")
    bound = "importance weighted"

    def __init__(self, num_particles: int = 2, alpha: float = 0.5) -> None:
        super().__init__(num_particles)
        if alpha == 1 or alpha < 0:
            raise ValueError(
                f"Expected alpha not negative and not 1, where the bound is the ELBO; got {alpha}."
            )
        self.alpha = alpha

    @property
    def summary(self) -> str:
        return f"Renyi bound of order {self.alpha:g}, by {self.samples}"

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""As :meth:`Objective.forward`."""
        w = self.weigh(model, guide, x, **kwargs)
        power = 1 - self.alpha
        bound = (power * w.log_weights).logsumexp(0) - log(self.num_particles)
        return w.terms(bound / power * w.common_scale("the Renyi bound"))
