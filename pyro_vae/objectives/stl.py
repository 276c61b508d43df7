r"""The evidence lower bound, its gradient sticking to the landing."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..programs import Terms
from .base import Objective


class STL(Objective):
    r"""Creates the ELBO with the path derivative alone: "sticking the landing".

    The gradient of :math:`\log q_\phi(z)` at fixed `z` has mean zero and is left out. What
    remains has no variance at all, for :math:`\phi`, where :math:`q(z \mid x)` is the exact
    posterior, however many sites the guide has and whatever they are given.

    References:
        | Sticking the Landing (Roeder et al., 2017), Eq. 8
        | https://arxiv.org/abs/1703.09194

    Arguments:
        num_particles: The number of samples per datum.
    """

    name = "stl"
    advice = (
        "the ELBO by path derivatives alone; without noise at the exact "
        "posterior, so for expressive ones"
    )
    needs = ("path", "density", "foreign density")

    @property
    def summary(self) -> str:
        return f"path derivative of the ELBO, by {self.samples}"

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""As :meth:`Objective.forward`."""
        w = self.weigh(model, guide, x, gradient="path", **kwargs)
        return w.terms((w.model - w.guide).mean(0))
