r"""Objectives: what training maximizes, and handlers that bend it.  (layer 4)"""

from ..programs import Terms
from .base import ESTIMATORS, Objective
from .dreg import DReG
from .elbo import ELBO
from .enumeration import Enumeration
from .explain import Derivation, explain
from .iwae import IWAE
from .kl import kl_divergence
from .kl_weight import cycle, fall, scale_kl, warm_up
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
    "cycle",
    "explain",
    "fall",
    "kl_divergence",
    "plan",
    "planned",
    "scale_kl",
    "track_sigma",
    "warm_up",
]
