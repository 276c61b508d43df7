r"""Objectives: what training maximizes, and handlers that bend it.  (layer 4)"""

from ..deprecation import renamed
from ..programs import Terms
from .base import ESTIMATORS, Objective
from .dreg import DReG
from .elbo import ELBO
from .enumeration import Enumeration
from .explain import Derivation, explain
from .iwae import IWAE
from .kl import kl_divergence
from .kl_weight import SCHEDULES, scale_kl
from .optimal_sigma import track_sigma
from .planner import Plan, plan, planned
from .renyi import Renyi
from .score_function import ScoreFunction
from .stl import STL
from .vimco import VIMCO

__all__ = [
    "ELBO",
    "ESTIMATORS",
    "IWAE",
    "STL",
    "VIMCO",
    "DReG",
    "Derivation",
    "Enumeration",
    "Objective",
    "Plan",
    "Renyi",
    "ScoreFunction",
    "Terms",
    "explain",
    "kl_divergence",
    "plan",
    "planned",
    "scale_kl",
    "track_sigma",
]

__getattr__ = renamed(__name__, SCHEDULES)
