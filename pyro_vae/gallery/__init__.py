r"""Models beside the VAE.  (layer 1)"""

from .autoencoder import Autoencoder
from .base import Lacking, Relative, abilities
from .classical import bernoulli_mixture, factor_analysis, independent_pixels, ppca

__all__ = [
    "Autoencoder",
    "Lacking",
    "Relative",
    "abilities",
    "bernoulli_mixture",
    "factor_analysis",
    "independent_pixels",
    "ppca",
]
