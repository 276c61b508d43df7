r"""The importance weighted bound with doubly reparameterized gradients."""

from collections.abc import Callable
from math import log
from typing import Any

from torch import Tensor

from ..programs import Terms
from .base import Objective


class DReG(Objective):
    r"""Creates the importance weighted bound with doubly reparameterized gradients.

    .. math:: \nabla_\phi \mathcal{L}_K = \mathbb{E} \sum_k \tilde{w}_k^2
        \frac{\partial \log w_k}{\partial z_k} \nabla_\phi z_k, \quad
        \tilde{w}_k = \frac{w_k}{\sum_j w_j}

    The model's parameters keep the gradient of :class:`IWAE`, weighted by :math:`\tilde{w}_k`.

    References:
        | Doubly Reparameterized Gradient Estimators (Tucker et al., 2019), Eq. 8
        | https://arxiv.org/abs/1810.04152

    Arguments:
        num_particles: The number `K` of samples per datum.
    """

    name = "dreg"
    advice = "the importance weighted bound with a better signal for the encoder"
    needs = ("path", "density", "foreign density")
    bound = "importance weighted"

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""As :meth:`Objective.forward`."""
        w = self.weigh(model, guide, x, gradient="path", **kwargs)
        share = w.log_weights.detach().softmax(0)
        if w.gates is not None:  # the second factor of the square, on the way back to phi
            w.gates.multiply(share, w.layout)
        bound = w.log_weights.detach().logsumexp(0) - log(self.num_particles)
        surrogate = (share * w.log_weights).sum(0)
        value = surrogate - surrogate.detach() + bound
        return w.terms(value * w.common_scale("DReG"))
