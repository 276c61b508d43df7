r"""Evaluation: one file per question, and nothing changes by asking.  (layer 5)"""

from ..programs import prior_guide
from .annealed import Annealed, Sandwich, ais, bdmc
from .calibration import PredictiveCheck, interval_coverage, predictive_check
from .classical import bernoulli_mixture, factor_analysis, independent_pixels, ppca
from .collapse import (
    CollapseWatch,
    Information,
    Rate,
    active_units,
    information,
    rate_distortion,
)
from .compare import Comparison, check_comparable, compare
from .diagnosis import Diagnosis, diagnose
from .export import to_datatree
from .gaps import Ledger, gap_ledger
from .generate import decode, reconstruct, sample
from .gold import Gold, c2st, gold_posterior
from .gradients import gradients
from .importance import LogMarginal, elbo, log_marginal
from .imputation import Imputed, impute
from .latent import Encoding, encode, encode_sites
from .sbc import Calibration, eubo, sbc
from .summary import describe, evaluate, z_score
from .trust import Trust, trust

__all__ = [
    "Annealed",
    "Calibration",
    "CollapseWatch",
    "Comparison",
    "Diagnosis",
    "Encoding",
    "Gold",
    "Imputed",
    "Information",
    "Ledger",
    "LogMarginal",
    "PredictiveCheck",
    "Rate",
    "Sandwich",
    "Trust",
    "active_units",
    "ais",
    "bdmc",
    "bernoulli_mixture",
    "c2st",
    "check_comparable",
    "compare",
    "decode",
    "describe",
    "diagnose",
    "elbo",
    "encode",
    "encode_sites",
    "eubo",
    "evaluate",
    "factor_analysis",
    "gap_ledger",
    "gold_posterior",
    "gradients",
    "impute",
    "independent_pixels",
    "information",
    "interval_coverage",
    "log_marginal",
    "ppca",
    "predictive_check",
    "prior_guide",
    "rate_distortion",
    "reconstruct",
    "sample",
    "sbc",
    "to_datatree",
    "trust",
    "z_score",
]
