from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Factor, Posterior
from ..distributions import halves, scale_of


class Corrected(Posterior):
    r"""Creates :math:`q(z_l \mid x, z_{l+1}) \propto p(z_l \mid z_{l+1}) \, e_l(z_l; x)`: the
    prior of a layer, corrected by evidence that is Normal in :math:`z_l`.

    References:
        | Ladder Variational Autoencoders (Sonderby et al., 2016), Eq. 8 to 11
        | https://arxiv.org/abs/1602.02282

    Arguments:
        encoder: Maps the first of what the factor is given to location and log scale of the
            evidence, of shape `(*batch, 2 * latent_dim)`.
        prior: A factor of the model that is a diagonal Normal, given the rest; both share it.
    """

    def __init__(self, encoder: nn.Module, prior: Factor) -> None:
        super().__init__(encoder)
        self.prior = prior

    def forward(self, values: Any) -> dist.Distribution:
        x, law = corrected_law(self.prior, values)
        guess, log_scale = halves(self.encoder(x), -1)
        precision = scale_of(log_scale).pow(-2)
        return dist.Normal(*correct(law.loc, law.scale, guess, precision)).to_event(1)


def corrected_law(prior: Factor, values: Any) -> tuple[Any, Any]:
    r"""The first of what a posterior is given, and the Normal of its prior given the rest."""
    x, *rest = values if isinstance(values, tuple) else (values,)
    above = rest if len(rest) < 2 else [tuple(rest)]
    return x, normal_of(prior(*above))


def normal_of(law: Any) -> Any:
    r"""The Normal of each feature of a diagonal one.

    Raises:
        ValueError: It is another distribution.
    """
    element = law
    while isinstance(element, dist.Independent | dist.ExpandedDistribution):
        element = element.base_dist
    if not isinstance(element, dist.Normal) or element.batch_shape != law.shape():
        raise ValueError(
            f"Expected a diagonal Normal prior to correct; got {type(element).__name__}. Take "
            "MeanFieldNormal for that site, or another posterior."
        )
    return element


def correct(loc: Tensor, scale: Tensor, guess: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the product of two Normals, as location and scale; the second, which is evidence,
    has a precision, zero where there is none."""
    own = scale.pow(-2)
    both = own + precision
    return torch.lerp(guess, loc, own / both), both.rsqrt()
