r"""Amortized posteriors :math:`q(z \mid x)`, one a file.  (layer 2)"""

from .bernoulli import Bernoulli
from .categorical import Categorical
from .committed_rate_normal import CommittedRateNormal
from .corrected import Corrected
from .corrected_markov import CorrectedMarkov
from .delta import Delta
from .flow import Flow
from .full_covariance_normal import FullCovarianceNormal
from .gaussian_mixture import GaussianMixture
from .householder import Householder
from .iaf import IAF
from .laplace import Laplace
from .low_rank_normal import LowRankNormal
from .mean_field_normal import MeanFieldNormal
from .neural_spline import NeuralSpline
from .per_datum import PerDatum
from .planar import Planar
from .relaxed_bernoulli import RelaxedBernoulli
from .relaxed_categorical import RelaxedCategorical
from .sylvester import Sylvester
from .von_mises_fisher import VonMisesFisher

__all__ = [
    "IAF",
    "Bernoulli",
    "Categorical",
    "CommittedRateNormal",
    "Corrected",
    "CorrectedMarkov",
    "Delta",
    "Flow",
    "FullCovarianceNormal",
    "GaussianMixture",
    "Householder",
    "Laplace",
    "LowRankNormal",
    "MeanFieldNormal",
    "NeuralSpline",
    "PerDatum",
    "Planar",
    "RelaxedBernoulli",
    "RelaxedCategorical",
    "Sylvester",
    "VonMisesFisher",
]
