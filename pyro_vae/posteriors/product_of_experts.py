from collections.abc import Sequence
from typing import Any, Self

import pyro.distributions as dist
from torch import nn

from ..base import Factor, Posterior
from ..counted import counted
from ..distributions import halves, scale_of
from ..nn import Views
from ..priors import StandardNormal
from .corrected import correct, corrected_law


class ProductOfExperts(Posterior):
    r"""Creates :math:`q(z \mid x) \propto p(z) \prod_v \mathcal{N}(z; \mu_v, \mathrm{diag}\,
    \sigma_v^2)`, the prior times what an expert says of each view :math:`x_v` that is there.

    The prior counts once. A view that is missing (NaN) says nothing, so that any of them may be:
    where none is there, the posterior is the prior.

    References:
        | Multimodal Generative Models for Scalable Weakly-Supervised Learning
        | (Wu & Goodman, 2018), Sec. 2.2
        | https://arxiv.org/abs/1802.05335

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu_v` and :math:`\log \sigma_v`, view after view, of
            shape `(*batch, 2 * latent_dim * num_views)`, such as :class:`pyro_vae.nn.Views`.
        latent_dim: The number of latent features.
        prior: A factor of the model that is a diagonal Normal, given what the factor is given
            beside :math:`x`; both share it. By default :math:`\mathcal{N}(0, I)`.
    """

    formula = "q(z | x) = p(z) prod_v N(z; mu_v(x_v), diag sigma_v^2(x_v)) / const, v: views there"
    advice = "for several views of one thing, any of which may be missing"

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int, prior: Factor | None = None) -> None:
        super().__init__(encoder)
        self.latent_dim = latent_dim
        self.prior = StandardNormal(latent_dim) if prior is None else prior

    @classmethod
    def from_recipe(
        cls,
        encoder: Sequence[nn.Module],
        latent_dim: int,
        views: Sequence[Sequence[int]],
        prior: Factor | None = None,
        event_dim: int = 1,
    ) -> Self:
        r"""Builds the posterior with a network for each view.

        Arguments:
            encoder: The networks.
            latent_dim: The number of latent features.
            views: The views, which together are `x`: regions of an image, as in ["left", "right"],
                or columns of a table, as in [[0, 1], [2]], by name or by number.
            prior: The prior of the model.
            event_dim: The number of dimensions of a datum.
        """
        return cls(Views([*zip(views, encoder)], event_dim), latent_dim, prior)

    def forward(self, values: Any) -> dist.Distribution:
        x, law = corrected_law(self.prior, values)
        outputs = self.encoder(x)
        if outputs.shape[-1] % (2 * self.latent_dim):
            raise ValueError(
                f"Expected {2 * self.latent_dim} outputs for each view, two for each latent "
                f"feature; got {outputs.shape[-1]} in all."
            )
        loc, scale = law.loc, law.scale
        for expert in outputs.unflatten(-1, (-1, 2 * self.latent_dim)).unbind(-2):
            guess, log_scale = halves(expert, -1)
            loc, scale = correct(loc, scale, guess, scale_of(log_scale).pow(-2))
        return dist.Normal(loc, scale).to_event(1)
