r"""Objectives: what training maximizes, and handlers that bend it.  (layer 4)"""

from .elbo import ELBO
from .kl_weight import scale_kl, warm_up

__all__ = ["ELBO", "scale_kl", "warm_up"]
