r"""Priors :math:`p(z)`, one per file."""

from .bernoulli import Bernoulli as Bernoulli
from .categorical import Categorical as Categorical
from .codes import Codes as Codes
from .flow import Flow as Flow
from .gaussian_mixture import GaussianMixture as GaussianMixture
from .hypersphere_uniform import HypersphereUniform as HypersphereUniform
from .laplace import Laplace as Laplace
from .markov import Markov as Markov
from .normal import Normal as Normal
from .relaxed_bernoulli import RelaxedBernoulli as RelaxedBernoulli
from .relaxed_categorical import RelaxedCategorical as RelaxedCategorical
from .standard_normal import StandardNormal as StandardNormal
from .vamp import Vamp as Vamp
