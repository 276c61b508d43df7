r"""Evaluation: one file per question, and nothing changes by asking.  (layer 5)"""

from ..deprecation import MOVED, renamed
from ..gallery import bernoulli_mixture, factor_analysis, independent_pixels, ppca
from ..programs import prior_guide
from ..statistics import Mean, describe, z_score
from ..views import (
    Encoding,
    Imputed,
    decode,
    encode,
    encode_sites,
    impute,
    reconstruct,
    sample,
    to_datatree,
)
from .annealed import Annealed, Sandwich, ais, bdmc
from .calibration import Calibration, eubo, sbc
from .collapse import (
    CollapseWatch,
    Information,
    Rate,
    active_units,
    information,
    rate_distortion,
)
from .comparison import Comparison, check_comparable, compare
from .diagnosis import Diagnosis, diagnose
from .gaps import Ledger, gap_ledger
from .gradient_noise import gradients
from .importance import LogMarginal, elbo, log_marginal
from .nuts import NUTSPosterior, c2st, nuts_posterior
from .predictive import PredictiveCheck, interval_coverage, predictive_check
from .reliability import Verdict, verdict
from .summary import evaluate

__all__ = [
    "Annealed",
    "Calibration",
    "CollapseWatch",
    "Comparison",
    "Diagnosis",
    "Encoding",
    "Imputed",
    "Information",
    "Ledger",
    "LogMarginal",
    "Mean",
    "NUTSPosterior",
    "PredictiveCheck",
    "Rate",
    "Sandwich",
    "Verdict",
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
    "gradients",
    "impute",
    "independent_pixels",
    "information",
    "interval_coverage",
    "log_marginal",
    "nuts_posterior",
    "ppca",
    "predictive_check",
    "prior_guide",
    "rate_distortion",
    "reconstruct",
    "sample",
    "sbc",
    "to_datatree",
    "verdict",
    "z_score",
]

__getattr__ = renamed(
    __name__,
    {
        "Gold": "NUTSPosterior",
        "Trust": "Verdict",
        "gold_posterior": "nuts_posterior",
        **{old.rpartition(".")[2]: new for old, new in MOVED.items() if old.startswith(__name__)},
        "trust": "verdict",
    },
)
