r"""A VAE of whole data as one of data with holes."""

from ..base import Sites, factors_of
from ..likelihoods import MissingAtRandom
from .vae import VAE


def allowing_holes(vae: VAE) -> VAE:
    r"""Returns a VAE with the same factors whose data may have holes; one of such data as it is.

    Its guide need not know them: Metropolis within Gibbs (:func:`pyro_vae.impute`) shows it
    completed data alone.

    Arguments:
        vae: The VAE.
    """
    factors = dict(factors_of(vae.likelihood, "x"))
    own = factors["x"]
    if own.missing:
        return vae
    wrapped = MissingAtRandom(own)
    wrapped.parents = own.parents
    factors["x"] = wrapped
    many = isinstance(vae.likelihood, Sites)
    made = VAE(vae.prior, Sites(factors) if many else wrapped, vae.posterior)
    made.columns = vae.columns
    return made.train(vae.training)
