r"""A better prior for networks that are trained already."""

import copy
from typing import Any, NamedTuple

from ..counted import counted
from ..data import as_split
from ..evaluate import elbo
from ..models import VAE
from ..programs import is_vae
from ..statistics import Mean
from .fit import fit
from .history import History

ROLES = ("likelihood", "posterior")


class Refitted(NamedTuple):
    r"""A VAE with a new prior.

    Attributes:
        vae: The VAE: likelihood and posterior are copies of the old ones, unchanged.
        gain: By how much its ELBO is above that of the old one, on the validation data: paired,
            the same draws of :math:`z` for both.
        history: The history of the fit.
    """

    vae: VAE
    gain: Mean
    history: History


@counted
def refit_prior(
    vae: VAE,
    prior: Any,
    data: Any,
    valid: Any,
    *,
    num_samples: int = 20,
    seed: int = 0,
    **settings: Any,
) -> Refitted:
    r"""Fits a prior to the aggregate posterior of a trained VAE, whose networks are frozen.

    Likelihood and posterior being fixed, the ELBO is :math:`\mathbb{E}_{q(z \mid x)} \log p(z)`
    and a constant. Its maximum over all priors is the aggregate posterior
    :math:`\frac{1}{N} \sum_n q(z \mid x_n)`. The gain is exact but for draws of `z`: what the
    priors do not change cancels, draw by draw.

    References:
        | Resampled Priors for Variational Autoencoders (Bauer & Mnih, 2019), Sec. 4
        | https://arxiv.org/abs/1810.11428
        | VAE with a VampPrior (Tomczak & Welling, 2018), Sec. 2
        | https://arxiv.org/abs/1705.07120

    Arguments:
        vae: The trained VAE, which stays as it is.
        prior: The new prior: a mixture, a flow, :class:`pyro_vae.priors.Vamp` around
            ``vae.posterior``, or :class:`pyro_vae.Sites`. Pseudo-inputs move in the units of the
            data, which `lr` has to go with: 0.2, not 0.001, for grey levels 0..16.
        data: The training data, as in :func:`pyro_vae.fit`.
        valid: Data for the gain, and for `patience`.
        num_samples: The number of draws of `z` for each validation datum.
        seed: Seeds the fit and the draws.
        settings: Those of :func:`pyro_vae.fit`, such as `epochs`, `lr` and `patience`.

    Returns:
        The VAE with the new prior, the gain in validation ELBO with its standard error over data,
        and the history.

    Raises:
        ValueError: `vae` is no :class:`pyro_vae.VAE`, the prior has nothing to fit, or it does
            not go with the posterior.

    Example:
        >>> import pyro_vae as pv, torch
        >>> x = torch.randn(200, 5)
        >>> vae = pv.VAE(
        ...     pv.priors.StandardNormal(2),
        ...     pv.likelihoods.Gaussian(pv.nn.MLP(2, [16], 5)),
        ...     pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 4)),
        ... )
        >>> mixture = pv.priors.GaussianMixture(2, num_components=3)
        >>> found = refit_prior(vae, mixture, x[:150], x[150:], epochs=2, progress=False)
        >>> found.gain.unit
        'nats per datum'
    """
    if not is_vae(vae):
        raise ValueError(
            f"Expected a pv.VAE, whose prior can be replaced; got {type(vae).__name__}."
        )
    likelihood, posterior, prior = copy.deepcopy((vae.likelihood, vae.posterior, prior))
    new = VAE(prior, likelihood, posterior)
    frozen = [*likelihood.parameters(), *posterior.parameters()]
    trained = [p.requires_grad for p in frozen]
    before = {n: {k: v.clone() for k, v in getattr(new, n).state_dict().items()} for n in ROLES}
    for p in frozen:
        p.requires_grad_(False)
    if not any(p.requires_grad for p in prior.parameters()):
        raise ValueError(
            f"Expected a prior with parameters to fit; got {type(prior).__name__}, which has none."
        )
    try:
        history = fit(new, data, valid=valid, seed=seed, **settings)
    finally:
        for p, wanted in zip(frozen, trained):
            p.requires_grad_(wanted)
    for name, state in before.items():  # running means of layers, which need no gradient
        getattr(new, name).load_state_dict(state)
    new.columns = vae.columns
    held_out = as_split(valid, "validation data", vae.columns).freeze(seed)
    skip = bool(settings.get("skip_checks", False))
    old, now = (
        elbo(each, held_out, num_samples, seed=seed, skip_checks=skip) for each in (vae, new)
    )
    return Refitted(new, Mean.of(now - old), history)
