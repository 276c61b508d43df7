r"""Training by stochastic variational inference.  (layer 6)"""

from .curve import rate_distortion_curve
from .fit import fit
from .history import Callback, History
from .optimizer import make_optimizer
from .run import NumericsError
from .schedule import cyclical, geometric_decay, linear_warmup

__all__ = [
    "Callback",
    "History",
    "NumericsError",
    "cyclical",
    "fit",
    "geometric_decay",
    "linear_warmup",
    "make_optimizer",
    "rate_distortion_curve",
]
