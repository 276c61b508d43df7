r"""Evaluation: one file per question, and nothing changes by asking."""

from ..deprecation import MOVED, renamed
from ..gallery import bernoulli_mixture as bernoulli_mixture
from ..gallery import factor_analysis as factor_analysis
from ..gallery import independent_pixels as independent_pixels
from ..gallery import ppca as ppca
from ..programs import prior_guide as prior_guide
from ..statistics import Mean as Mean
from ..statistics import describe as describe
from ..statistics import z_score as z_score
from ..views import Encoding as Encoding
from ..views import Imputed as Imputed
from ..views import decode as decode
from ..views import encode as encode
from ..views import encode_sites as encode_sites
from ..views import impute as impute
from ..views import reconstruct as reconstruct
from ..views import sample as sample
from ..views import to_datatree as to_datatree
from .annealed import Annealed as Annealed
from .annealed import Sandwich as Sandwich
from .annealed import ais as ais
from .annealed import bdmc as bdmc
from .calibration import Calibration as Calibration
from .calibration import eubo as eubo
from .calibration import sbc as sbc
from .classes import Agreement as Agreement
from .classes import Classification as Classification
from .classes import Judge as Judge
from .classes import agreement as agreement
from .classes import classification as classification
from .classes import judge_of as judge_of
from .codes import CodeUse as CodeUse
from .codes import code_use as code_use
from .collapse import CollapseWatch as CollapseWatch
from .collapse import Information as Information
from .collapse import Rate as Rate
from .collapse import active_units as active_units
from .collapse import information as information
from .collapse import rate_distortion as rate_distortion
from .collapse import site_activities as site_activities
from .comparison import Comparison as Comparison
from .comparison import check_comparable as check_comparable
from .comparison import compare as compare
from .conditional import LogConditional as LogConditional
from .conditional import log_conditional as log_conditional
from .diagnosis import Diagnosis as Diagnosis
from .diagnosis import diagnose as diagnose
from .factors import FactorScores as FactorScores
from .factors import Score as Score
from .factors import dci as dci
from .factors import factor_scores as factor_scores
from .factors import mig as mig
from .gaps import Ledger as Ledger
from .gaps import gap_ledger as gap_ledger
from .gradient_noise import gradients as gradients
from .groups import GroupComparison as GroupComparison
from .groups import compare_groups as compare_groups
from .groups import rank as rank
from .importance import LogMarginal as LogMarginal
from .importance import elbo as elbo
from .importance import log_marginal as log_marginal
from .kl_terms import KLTerms as KLTerms
from .kl_terms import kl_terms as kl_terms
from .modes import ModeCoverage as ModeCoverage
from .modes import mode_coverage as mode_coverage
from .neighbours import Copying as Copying
from .neighbours import Fidelity as Fidelity
from .neighbours import copying as copying
from .neighbours import fidelity as fidelity
from .nuts import NUTSPosterior as NUTSPosterior
from .nuts import c2st as c2st
from .nuts import nuts_posterior as nuts_posterior
from .ood import Detection as Detection
from .ood import OODScores as OODScores
from .ood import auroc as auroc
from .ood import ood_detection as ood_detection
from .ood import ood_scores as ood_scores
from .pqmass import PQMass as PQMass
from .pqmass import pqmass as pqmass
from .predictive import PredictiveCheck as PredictiveCheck
from .predictive import interval_coverage as interval_coverage
from .predictive import predictive_check as predictive_check
from .relatives import evaluate_relative as evaluate_relative
from .relatives import log_probs as log_probs
from .reliability import Verdict as Verdict
from .reliability import verdict as verdict
from .summary import evaluate as evaluate
from .two_sample import TwoSample as TwoSample
from .two_sample import compare_samples as compare_samples

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
