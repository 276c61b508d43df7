r"""Distributions that Pyro lacks, or has without what others need of them.  (layer 0)"""

from .columns import Columns
from .continuous_bernoulli import ContinuousBernoulli
from .discrete import IndependentBernoulli, Levels, OneHots
from .discretized_logistic import DiscretizedLogistic
from .mixture import DiagonalNormalMixture, Mixture
from .relaxed import RelaxedOneHots, StraightThrough
from .sphere import HypersphereUniform, VonMisesFisher
from .support import ByColumn, describe, elementwise, inside, open_unit_interval, same, support_of
from .zero_inflated import ZeroInflated

__all__ = [
    "ByColumn",
    "Columns",
    "ContinuousBernoulli",
    "DiagonalNormalMixture",
    "DiscretizedLogistic",
    "HypersphereUniform",
    "IndependentBernoulli",
    "Levels",
    "Mixture",
    "OneHots",
    "RelaxedOneHots",
    "StraightThrough",
    "VonMisesFisher",
    "ZeroInflated",
    "describe",
    "elementwise",
    "inside",
    "open_unit_interval",
    "same",
    "support_of",
]
