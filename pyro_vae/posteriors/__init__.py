r"""Amortized posteriors :math:`q(z \mid x)`, one per file."""

from .bernoulli import Bernoulli as Bernoulli
from .categorical import Categorical as Categorical
from .committed_rate_normal import CommittedRateNormal as CommittedRateNormal
from .corrected import Corrected as Corrected
from .corrected_markov import CorrectedMarkov as CorrectedMarkov
from .delta import Delta as Delta
from .finite_scalar import FiniteScalar as FiniteScalar
from .flow import Flow as Flow
from .full_covariance_normal import FullCovarianceNormal as FullCovarianceNormal
from .gaussian_mixture import GaussianMixture as GaussianMixture
from .householder import Householder as Householder
from .iaf import IAF as IAF
from .laplace import Laplace as Laplace
from .low_rank_normal import LowRankNormal as LowRankNormal
from .mean_field_normal import MeanFieldNormal as MeanFieldNormal
from .neural_spline import NeuralSpline as NeuralSpline
from .per_datum import PerDatum as PerDatum
from .planar import Planar as Planar
from .product_of_experts import ProductOfExperts as ProductOfExperts
from .relaxed_bernoulli import RelaxedBernoulli as RelaxedBernoulli
from .relaxed_categorical import RelaxedCategorical as RelaxedCategorical
from .sylvester import Sylvester as Sylvester
from .vector_quantized import VectorQuantized as VectorQuantized
from .von_mises_fisher import VonMisesFisher as VonMisesFisher
