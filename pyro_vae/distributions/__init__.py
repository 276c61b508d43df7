r"""Distributions that Pyro lacks, or has without what others need of them.  (layer 0)"""

from ..deprecation import renamed
from .columns import Columns
from .continuous_bernoulli import ContinuousBernoulli
from .counts import Beta, Binomial, NegativeBinomial, Poisson, StudentT
from .discrete import IndependentBernoulli, Levels, OneHots
from .discretized_logistic import DiscretizedLogistic
from .flow import Flow
from .known import Known
from .markov import Markov
from .mixture import DiagonalNormalMixture, Mixture
from .names import name_of
from .partial import Partial, Rest
from .relaxed import RelaxedOneHots, StraightThrough
from .scales import bounded, halves, scale_of
from .sphere import HypersphereUniform, VonMisesFisher
from .support import (
    ByColumn,
    describe_support,
    elementwise,
    inside,
    open_unit_interval,
    same,
    support_of,
)
from .zero_inflated import ZeroInflated

__all__ = [
    "Beta",
    "Binomial",
    "ByColumn",
    "Columns",
    "ContinuousBernoulli",
    "DiagonalNormalMixture",
    "DiscretizedLogistic",
    "Flow",
    "HypersphereUniform",
    "IndependentBernoulli",
    "Known",
    "Levels",
    "Markov",
    "Mixture",
    "NegativeBinomial",
    "OneHots",
    "Partial",
    "Poisson",
    "RelaxedOneHots",
    "Rest",
    "StraightThrough",
    "StudentT",
    "VonMisesFisher",
    "ZeroInflated",
    "bounded",
    "describe_support",
    "elementwise",
    "halves",
    "inside",
    "name_of",
    "open_unit_interval",
    "same",
    "scale_of",
    "support_of",
]

__getattr__ = renamed(__name__, {"describe": "describe_support"})
