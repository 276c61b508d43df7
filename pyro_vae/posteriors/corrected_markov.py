from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from .. import distributions
from ..base import Posterior
from ..distributions import halves, scale_of
from ..nn import followed
from .corrected import correct


class CorrectedMarkov(Posterior):
    r"""Creates :math:`q(z_t \mid z_{t-1}, x) \propto p(z_t \mid z_{t-1}) \, e_t(z_t; x_{t:T})`:
    the chain of the prior, each step corrected by evidence that is Normal in :math:`z_t`.

    Where no data follow the evidence is one, and the posterior is the prior: padding costs
    nothing, and what follows the data is a forecast.

    References:
        | Structured Inference Networks for Nonlinear State Space Models
        | (Krishnan et al., 2017), Sec. 4
        | https://arxiv.org/abs/1609.09869

    Arguments:
        encoder: Maps :math:`x`, of shape `(*batch, T, D)` with NaN where nothing is, and what else
            the factor is given after it, to location and log scale of the evidence, of shape
            `(*batch, T, 2 * latent_dim)`.
        prior: The :class:`pyro_vae.priors.Markov` of the model; both share it.
    """

    def __init__(self, encoder: nn.Module, prior: Any) -> None:
        super().__init__(encoder)
        self.prior: Any = prior

    def forward(self, values: Any) -> dist.Distribution:
        x = values[0] if isinstance(values, tuple) else values
        follows = followed(x).to(x.dtype)
        guess, log_scale = halves(self.encoder(values), -1)

        def cell(previous: Tensor, guess: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
            loc, scale = self.prior.cell(previous)
            return correct(loc, scale, guess, precision)

        context = (guess, scale_of(log_scale).pow(-2) * follows)
        return distributions.Markov(cell, self.prior.start, x.shape[-2], context, x.shape[:-2])
