r"""Debugging: one step, site by site, and the commonest mistakes in words."""

from .mistakes import MISTAKES, explain_error
from .step import Row, Step, inspect_step

__all__ = ["MISTAKES", "Row", "Step", "explain_error", "inspect_step"]
