r"""Runs: folders that survive a crash, and reading them executes nothing.  (layer 5)

Nothing here imports torch before a model, data or a checkpoint are asked for.
"""

from ..deprecation import renamed
from .folder import RunFolder, load, load_recipe
from .storage import CheckpointCorrupt, CheckpointError, RunLocked

__all__ = [
    "CheckpointCorrupt",
    "CheckpointError",
    "RunFolder",
    "RunLocked",
    "load",
    "load_recipe",
]

_STATE = "environment get_rng_state load_parameters pack_optimizer set_rng_state unpack_optimizer"
_STORAGE = "lock newest read save understood verify"
__getattr__ = renamed(
    __name__,
    {name: f"pyro_vae.runs.state.{name}" for name in _STATE.split()}
    | {name: f"pyro_vae.runs.storage.{name}" for name in _STORAGE.split()},
)
