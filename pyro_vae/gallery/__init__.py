r"""Models beside the VAE.  (layer 1)"""

from .autoencoder import Autoencoder
from .base import Lacking, Relative, abilities
from .classical import bernoulli_mixture, factor_analysis, independent_pixels, ppca
from .dbm import DBM
from .gsn import GSN
from .rbm import RBM

__all__ = [
    "DBM",
    "GSN",
    "RBM",
    "Autoencoder",
    "Lacking",
    "Relative",
    "abilities",
    "bernoulli_mixture",
    "factor_analysis",
    "independent_pixels",
    "ppca",
]
