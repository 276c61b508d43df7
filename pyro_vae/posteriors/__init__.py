r"""Amortized posteriors :math:`q(z \mid x)`, one a file.  (layer 2)"""

from .full_covariance_normal import FullCovarianceNormal
from .mean_field_normal import MeanFieldNormal

__all__ = ["FullCovarianceNormal", "MeanFieldNormal"]
