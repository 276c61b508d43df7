r"""Compilation: a Pyro program recorded once as a graph of tensors, and compiled.

`externals` finds what a program reads and writes, `record` makes the graph, `backend` compiles it,
`cache` keeps one for every kind of call, `optimizers` puts the update into it, `step` checks and
runs it, `many` maps it over several models, `counter` draws without a generator, `svi` is Pyro's
SVI on top. Nothing here imports the rest of the package, but for `ranks`.
"""

import warnings
from typing import Any

from .cache import Staged as Staged
from .drop_in import SVI as SVI
from .many import ManySteps as ManySteps
from .many import drawing_from as drawing_from
from .optimizers import optimized_parameters as optimized_parameters
from .record import NotStatic as NotStatic
from .step import FusedStep as FusedStep
from .step import Mismatch as Mismatch
from .svi import CompiledSVI as CompiledSVI


def __getattr__(name: str) -> Any:
    if name == "slots_of":
        new = f"{__name__}.optimized_parameters"
        warnings.warn(f"{__name__}.slots_of is now {new}.", DeprecationWarning, stacklevel=2)
        return optimized_parameters
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
