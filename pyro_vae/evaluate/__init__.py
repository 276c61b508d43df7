r"""Evaluation: one file per question, and nothing changes by asking.  (layer 5)"""

from .annealed import Annealed, Sandwich, ais, bdmc
from .generate import decode, reconstruct, sample
from .importance import LogMarginal, elbo, log_marginal
from .latent import Encoding, encode
from .program import prior_guide
from .summary import evaluate

__all__ = [
    "Annealed",
    "Encoding",
    "LogMarginal",
    "Sandwich",
    "ais",
    "bdmc",
    "decode",
    "elbo",
    "encode",
    "evaluate",
    "log_marginal",
    "prior_guide",
    "reconstruct",
    "sample",
]
