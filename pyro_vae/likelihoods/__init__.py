r"""Likelihoods :math:`p(x \mid z)`, one a file.  (layer 2)"""

from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .continuous_bernoulli import ContinuousBernoulli
from .discretized_logistic import DiscretizedLogistic
from .gaussian import Gaussian
from .laplace import Laplace
from .missing_at_random import MissingAtRandom
from .negative_binomial import NegativeBinomial
from .poisson import Poisson
from .product import Product
from .student_t import StudentT
from .zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "Laplace",
    "MissingAtRandom",
    "NegativeBinomial",
    "Poisson",
    "Product",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
]
