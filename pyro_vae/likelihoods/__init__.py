r"""Likelihoods :math:`p(x \mid z)`, one a file.  (layer 2)"""

from .bernoulli import Bernoulli
from .binomial import Binomial
from .gaussian import Gaussian

__all__ = ["Bernoulli", "Binomial", "Gaussian"]
