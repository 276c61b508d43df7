r"""Staging: a Pyro program recorded once as a graph of tensors, and compiled.  (layer 4)"""

from .seam import NotStatic
from .slots import slots_of
from .step import FusedStep, Mismatch
from .svi import CompiledSVI

__all__ = ["CompiledSVI", "FusedStep", "Mismatch", "NotStatic", "slots_of"]
