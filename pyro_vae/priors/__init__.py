r"""Priors :math:`p(z)`, one a file.  (layer 2)"""

from .bernoulli import Bernoulli
from .categorical import Categorical
from .flow import Flow
from .gaussian_mixture import GaussianMixture
from .hypersphere_uniform import HypersphereUniform
from .laplace import Laplace
from .markov import Markov
from .normal import Normal
from .relaxed_bernoulli import RelaxedBernoulli
from .relaxed_categorical import RelaxedCategorical
from .standard_normal import StandardNormal
from .vamp import Vamp

__all__ = [
    "Bernoulli",
    "Categorical",
    "Flow",
    "GaussianMixture",
    "HypersphereUniform",
    "Laplace",
    "Markov",
    "Normal",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "StandardNormal",
    "Vamp",
]
