r"""Objectives: what training maximizes, and handlers that modify it."""

from ..deprecation import renamed
from ..programs import Terms as Terms
from .base import ESTIMATORS as ESTIMATORS
from .base import Objective as Objective
from .beta_tcvae import BetaTCVAE as BetaTCVAE
from .codebook import track_codebook as track_codebook
from .decomposition import KLParts as KLParts
from .decomposition import kl_parts as kl_parts
from .dreg import DReG as DReG
from .elbo import ELBO as ELBO
from .enumeration import Enumeration as Enumeration
from .explain import Derivation as Derivation
from .explain import explain as explain
from .factor_vae import FactorVAE as FactorVAE
from .info_vae import InfoVAE as InfoVAE
from .iwae import IWAE as IWAE
from .kl import kl_divergence as kl_divergence
from .kl_weight import SCHEDULES
from .kl_weight import scale_kl as scale_kl
from .optimal_sigma import track_sigma as track_sigma
from .planner import Plan as Plan
from .planner import plan as plan
from .planner import planned as planned
from .renyi import Renyi as Renyi
from .score_function import ScoreFunction as ScoreFunction
from .stl import STL as STL
from .vimco import VIMCO as VIMCO

__getattr__ = renamed(__name__, SCHEDULES)
