r"""The closed form of a shared sigma, as a handler around any objective."""

from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from ..base import Likelihood


class track_sigma(Messenger):
    r"""Sets the sigma of a Gaussian likelihood from the residuals of the data it observes.

    .. math:: \sigma^2 = \frac{1}{D} \, \mathbb{E} \, \| x - f(z) \|^2

    is where the likelihood is highest. It is a running mean over training batches; elsewhere it
    stays what it is, since a sigma taken from the very data that are scored makes no density.

    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021), Eq. 6
        | https://arxiv.org/abs/2006.13202

    Arguments:
        likelihood: The likelihood; one that has no optimal sigma is left alone.
        decay: How much of the past a batch leaves in the running mean.
    """

    def __init__(self, likelihood: Likelihood, decay: float = 0.98) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.decay = decay

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] != "x" or not msg["is_observed"]:
            return
        if getattr(self.likelihood, "sigma", None) != "optimal":
            return
        with torch.no_grad():
            log_scale: torch.Tensor = self.likelihood.log_scale  # type: ignore[assignment]
            residual = (msg["value"] - msg["fn"].mean).square().mean()
            mean = self.decay * (2 * log_scale).exp() + (1 - self.decay) * residual
            self.pending = mean.log() / 2

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        pending = self.__dict__.pop("pending", None)
        if pending is not None and error[0] is None:
            with torch.no_grad():
                finite = pending.isfinite()
                log_scale: torch.Tensor = self.likelihood.log_scale  # type: ignore[assignment]
                log_scale.copy_(torch.where(finite, pending, log_scale))
