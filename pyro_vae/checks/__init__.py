r"""Data are checked against a model once, before anything is computed.  (layer 5)"""

from .data import check_data, check_program
from .taking import Data, check_rows, check_start, opened, take
from .units import unit_warning

__all__ = [
    "Data",
    "check_data",
    "check_program",
    "check_rows",
    "check_start",
    "opened",
    "take",
    "unit_warning",
]
