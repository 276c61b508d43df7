r"""Evaluation: one file per question, and nothing changes by asking.  (layer 5)"""

from .generate import decode, reconstruct, sample
from .importance import LogMarginal, elbo, log_marginal
from .latent import Encoding, encode
from .summary import evaluate

__all__ = [
    "Encoding",
    "LogMarginal",
    "decode",
    "elbo",
    "encode",
    "evaluate",
    "log_marginal",
    "reconstruct",
    "sample",
]
