r"""Priors :math:`p(z)`, one a file.  (layer 2)"""

from .standard_normal import StandardNormal
from .vamp import Vamp

__all__ = ["StandardNormal", "Vamp"]
