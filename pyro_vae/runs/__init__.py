r"""Runs: folders that survive a crash, and reading them executes nothing.  (layer 5)

Nothing here imports torch before a model, data or a checkpoint are asked for.
"""

from ..deprecation import renamed
from .folder import RunFolder, declaration, load, load_recipe
from .records import read_metrics, to_json
from .storage import (
    CheckpointCorrupt,
    CheckpointError,
    RunLocked,
    lock,
    newest,
    read,
    save,
    understood,
    verify,
)

__all__ = [
    "CheckpointCorrupt",
    "CheckpointError",
    "RunFolder",
    "RunLocked",
    "declaration",
    "load",
    "load_recipe",
    "lock",
    "newest",
    "read",
    "read_metrics",
    "save",
    "to_json",
    "understood",
    "verify",
]

__getattr__ = renamed(
    "pyro_vae.runs",
    {
        name: f"pyro_vae.runs.state.{name}"
        for name in (
            "environment",
            "get_rng_state",
            "load_parameters",
            "pack_optimizer",
            "set_rng_state",
            "unpack_optimizer",
        )
    },
)
