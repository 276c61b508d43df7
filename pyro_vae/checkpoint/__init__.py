r"""Checkpoints: written so that they survive, read so that nothing is executed.  (layer 5)"""

import os
from pathlib import Path
from typing import Any

import torch

from ..build import build_vae, find_device
from ..config import Recipe, validate
from ..data import Column
from ..models import VAE
from .folder import RunFolder
from .state import (
    environment,
    get_rng_state,
    load_parameters,
    pack_optimizer,
    set_rng_state,
    unpack_optimizer,
)
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
    "environment",
    "get_rng_state",
    "load",
    "load_parameters",
    "load_recipe",
    "lock",
    "newest",
    "pack_optimizer",
    "read",
    "save",
    "set_rng_state",
    "understood",
    "unpack_optimizer",
    "verify",
]


def load(run: str | os.PathLike[str], device: str = "auto", *, vae: Any = None) -> VAE:
    r"""Returns the trained VAE of a run, in evaluation mode.

    With early stopping these are the parameters of the best epoch, else the newest ones.

    Arguments:
        run: The folder of the run.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        vae: The VAE to load into, for a run of one's own `fit` that no recipe describes.

    Raises:
        ValueError: The run holds another model, or `vae` is needed.
        CheckpointError: The run has no whole checkpoint.
    """
    source = newest(Path(run))
    tensors, state = read(source)
    with understood(source):
        parameters, record = tensors["best"] or tensors["model"], state["record"]
        if vae is None and record:
            recipe, size = validate(record["recipe"]), int(record["data"]["sizes"]["train"])
            form = record["data"].get("form", {})
            shapes = {name: tuple(shape) for name, shape in form.get("known", {}).items()}
            x_shape = tuple(record["x_shape"])
            vae = build_vae(recipe, x_shape, record["scale"], None, size, shapes)
    if vae is None:
        raise ValueError(
            f"Expected a run of a recipe; got {run}, which fit() made without one. Build the "
            "VAE and give it: load(run, vae=vae)."
        )
    if wrong := [name for name, t in parameters.items() if not t.isfinite().all()]:
        raise CheckpointCorrupt(
            f"Expected finite parameters in {source}; got others in {', '.join(wrong[:5])}. Use "
            "another checkpoint and delete this one."
        )
    floats = [t.dtype for t in parameters.values() if t.dtype in (torch.float32, torch.float64)]
    if floats:  # whatever the default dtype is now
        vae = vae.to(floats[0])
    load_parameters(vae, parameters, source)
    vae.columns = tuple(Column(name, tuple(codes)) for name, codes in state.get("columns", ()))
    return vae.to(find_device(device)).eval()


def load_recipe(run: str | os.PathLike[str]) -> Recipe:
    r"""Returns the recipe of a run, from its newest checkpoint."""
    _, state = read(newest(Path(run)))
    return validate(state["record"]["recipe"])
