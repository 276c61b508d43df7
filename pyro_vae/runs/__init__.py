r"""Runs: folders that survive a crash and that are read without executing code.

Nothing here imports torch before a model, data or a checkpoint are needed.
"""

from ..deprecation import renamed
from .folder import RunFolder as RunFolder
from .folder import load as load
from .folder import load_recipe as load_recipe
from .folder import save as save
from .storage import CheckpointCorrupt as CheckpointCorrupt
from .storage import CheckpointError as CheckpointError
from .storage import RunLocked as RunLocked

_STATE = "environment get_rng_state load_parameters pack_optimizer set_rng_state unpack_optimizer"
_STORAGE = "lock newest read save understood verify"
__getattr__ = renamed(
    __name__,
    {name: f"pyro_vae.runs.state.{name}" for name in _STATE.split()}
    | {name: f"pyro_vae.runs.storage.{name}" for name in _STORAGE.split()},
)
