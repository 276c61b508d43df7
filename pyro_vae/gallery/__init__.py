r"""Models beside the VAE."""

from .autoencoder import Autoencoder
from .base import Lacking, Relative, abilities
from .classical import bernoulli_mixture, factor_analysis, independent_pixels, ppca
from .dbm import DBM
from .diffusion import Diffusion
from .gan import GAN
from .gsn import GSN
from .made import MADE
from .normalizing_flow import NormalizingFlow
from .pixelcnn import PixelCNN
from .rbm import RBM

__all__ = [
    "DBM",
    "GAN",
    "GSN",
    "MADE",
    "RBM",
    "Autoencoder",
    "Diffusion",
    "Lacking",
    "NormalizingFlow",
    "PixelCNN",
    "Relative",
    "abilities",
    "bernoulli_mixture",
    "factor_analysis",
    "independent_pixels",
    "ppca",
]
