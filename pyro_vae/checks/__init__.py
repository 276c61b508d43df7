r"""Data are checked against a model once, before anything is computed."""

from .data import check_data as check_data
from .data import check_program as check_program
from .data import first_rows as first_rows
from .taking import Data as Data
from .taking import check_rows as check_rows
from .taking import check_start as check_start
from .taking import opened as opened
from .taking import take as take
from .taking import telling_holes as telling_holes
from .units import unit_warning as unit_warning
