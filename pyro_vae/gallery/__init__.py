r"""Models beside the VAE.  (layer 1)"""

from .classical import bernoulli_mixture, factor_analysis, independent_pixels, ppca

__all__ = ["bernoulli_mixture", "factor_analysis", "independent_pixels", "ppca"]
