r"""The weight of the KL term, as a handler around any Pyro objective."""

from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..deprecation import renamed


class scale_kl(Messenger):
    r"""Scales the log density of every latent site by `weight`, and with it the KL term.

    .. math:: \mathbb{E}_q \log p(x \mid z) - \beta \, \mathrm{KL}(q(z \mid x) \,\|\, p(z))

    References:
        | beta-VAE (Higgins et al., 2017), Eq. 4
        | https://openreview.net/forum?id=Sy2fzU9gl

    Arguments:
        weight: The weight :math:`\beta \geq 0`.
    """

    def __init__(self, weight: float | Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            scale, weight = msg["scale"], self.weight
            msg["scale"] = weight if isinstance(scale, float) and scale == 1 else scale * weight


SCHEDULES = {
    "warm_up": "pyro_vae.train.linear_warmup",
    "cycle": "pyro_vae.train.cyclical",
    "fall": "pyro_vae.train.geometric_decay",
}
__getattr__ = renamed(__name__, SCHEDULES)
