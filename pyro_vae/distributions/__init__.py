r"""Distributions that Pyro lacks, or has without what others need of them."""

from ..deprecation import renamed
from .autoregressive import Autoregressive as Autoregressive
from .censored import Censored as Censored
from .codes import Coded as Coded
from .codes import CodeVectors as CodeVectors
from .codes import Quantized as Quantized
from .codes import Residual as Residual
from .codes import residuals as residuals
from .columns import Columns as Columns
from .continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from .counts import Beta as Beta
from .counts import Binomial as Binomial
from .counts import NegativeBinomial as NegativeBinomial
from .counts import Poisson as Poisson
from .counts import StudentT as StudentT
from .discrete import IndependentBernoulli as IndependentBernoulli
from .discrete import Levels as Levels
from .discrete import OneHots as OneHots
from .discretized_logistic import DiscretizedLogistic as DiscretizedLogistic
from .flow import Flow as Flow
from .hurdle import Hurdle as Hurdle
from .hurdle import with_zero as with_zero
from .known import Known as Known
from .markov import Markov as Markov
from .mixture import DiagonalNormalMixture as DiagonalNormalMixture
from .mixture import Mixture as Mixture
from .names import name_of as name_of
from .ordinal import Ordinal as Ordinal
from .partial import Partial as Partial
from .partial import Rest as Rest
from .positive import Gamma as Gamma
from .positive import LogNormal as LogNormal
from .relaxed import RelaxedOneHots as RelaxedOneHots
from .relaxed import StraightThrough as StraightThrough
from .scales import bounded as bounded
from .scales import halves as halves
from .scales import scale_of as scale_of
from .scales import shares as shares
from .sphere import HypersphereUniform as HypersphereUniform
from .sphere import VonMisesFisher as VonMisesFisher
from .support import Between as Between
from .support import ByColumn as ByColumn
from .support import describe_support as describe_support
from .support import elementwise as elementwise
from .support import inside as inside
from .support import open_unit_interval as open_unit_interval
from .support import same as same
from .support import support_of as support_of
from .truncated import ZeroTruncated as ZeroTruncated
from .zero_inflated import ZeroInflated as ZeroInflated

__getattr__ = renamed(__name__, {"describe": "describe_support"})
