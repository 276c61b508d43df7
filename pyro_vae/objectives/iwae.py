r"""The importance weighted bound."""

from collections.abc import Callable
from math import log
from typing import Any

from torch import Tensor

from ..programs import Terms
from .base import Objective


class IWAE(Objective):
    r"""Creates the importance weighted bound, whose tightness grows with `K`.

    .. math:: \mathcal{L}_K(x) = \mathbb{E} \log \frac{1}{K} \sum_k w_k, \quad
        w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad \mathcal{L}_1 = \mathrm{ELBO}

    The logarithm is taken datum by datum, before any subsampling scale. With `K` above 1 the
    gradient's signal-to-noise ratio for the encoder falls as :math:`1 / \sqrt{K}`; :class:`DReG`
    fixes it.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), Eq. 8
        | https://arxiv.org/abs/1509.00519

    Arguments:
        num_particles: The number `K` of samples per datum.
    """

    name = "iwae"
    advice = "the importance weighted bound of num_particles samples; tighter for the model"
    needs = ("path", "density")
    bound = "importance weighted"

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""As :meth:`Objective.forward`."""
        w = self.weigh(model, guide, x, **kwargs)
        bound = w.log_weights.logsumexp(0) - log(self.num_particles)
        return w.terms(bound * w.common_scale("IWAE"))
