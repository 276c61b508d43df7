r"""The closed form of a shared sigma, as a handler around any objective."""

from collections.abc import Iterator
from typing import Any

import torch
from pyro.poutine.messenger import Messenger

from ..base import Likelihood, Sites, factors_of
from ..ranks import batch_nanmean


class track_sigma(Messenger):
    r"""Sets the sigma of a Gaussian likelihood from the residuals of the data it observes.

    .. math:: \sigma^2 = \frac{1}{D} \, \mathbb{E} \, \| x - f(z) \|^2

    is where the likelihood is highest, over the elements that are there. It is a running mean
    over training batches; elsewhere it stays what it is, since a sigma taken from the very data
    that are scored makes no density.

    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021), Eq. 6
        | https://arxiv.org/abs/2006.13202

    Arguments:
        likelihood: The likelihood of the site `x`, a product of factors, or a product with such
            parts; one that has no optimal sigma is left alone.
        decay: How much of the past a batch leaves in the running mean.
    """

    def __init__(self, likelihood: Likelihood | Sites | None, decay: float = 0.98) -> None:
        super().__init__()
        self.likelihoods = {} if likelihood is None else dict(factors_of(likelihood, "x"))
        self.decay = decay

    def __enter__(self) -> Any:
        self.pending: list[tuple[torch.Tensor, torch.Tensor]] = []
        return super().__enter__()

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] not in self.likelihoods or not msg["is_observed"]:
            return
        with torch.no_grad():
            for gaussian, part, columns in _optimal(self.likelihoods[msg["name"]]):
                law = msg["fn"]
                if part is not None:
                    law = (law if hasattr(law, "parts") else law.base_dist).parts[part]
                x = msg["value"] if part is None else msg["value"][..., columns]
                error = (x - law.mean) / (1.0 if gaussian.unit is None else gaussian.unit)
                residual = batch_nanmean(error.square())  # of what is there
                mean = (2 * gaussian.log_scale).exp()
                mean = self.decay * mean + (1 - self.decay) * residual
                self.pending.append((gaussian.log_scale, mean.log() / 2))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is None:
            with torch.no_grad():
                for log_scale, value in self.pending:
                    log_scale.copy_(torch.where(value.isfinite(), value, log_scale))


def _optimal(likelihood: Any) -> Iterator[tuple[Any, int | None, Any]]:
    r"""Gaussians with an optimal sigma: the likelihood, or parts of it by number and columns."""
    if getattr(likelihood, "sigma", None) == "optimal":
        yield likelihood, None, None
    if hasattr(likelihood, "family"):  # inside of a wrapper
        yield from _optimal(likelihood.family)
    for i, part in enumerate(getattr(likelihood, "parts", ())):
        if getattr(part, "sigma", None) == "optimal":
            yield part, i, getattr(likelihood, f"columns{i}")
