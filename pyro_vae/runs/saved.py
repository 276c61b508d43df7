r"""Models that are saved without a training."""

import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .declared import Undeclared, constants, create, declare
from .place import Place

Groups = dict[str, dict[str, Tensor]]


def write_model(vae: nn.Module, folder: str | os.PathLike[str], overwrite: bool) -> None:
    r"""Writes a model into a free folder; see :func:`pyro_vae.save`."""
    if not isinstance(vae, nn.Module):
        raise ValueError(f"Expected save(vae, folder), the model first; got {type(vae).__name__}.")
    run = Place(folder)
    run.check_free(overwrite)
    tensors, state = declaration_of(vae)
    if reason := state["undeclared"]:
        warnings.warn(
            f"Only the values of the model are saved, as {reason}: load them into a model that "
            f"you make as this one, pv.load({str(run.path)!r}, vae=vae).",
            stacklevel=3,
        )
    tensors |= {"model": vae.state_dict(), "best": {}}
    state |= {"position": {"epoch": 0, "finished": True}, "record": None}
    state["columns"] = [[c.name, list(c.categories)] for c in getattr(vae, "columns", ())]
    with run.held(overwrite=overwrite):
        run.save(0, tensors, state)


def declaration_of(vae: nn.Module) -> tuple[Groups, dict[str, Any]]:
    r"""How a model was made, for a checkpoint; or the reason why that is not known."""
    try:
        declaration, arguments = declare(vae)
    except Undeclared as error:
        return {}, {"declaration": None, "undeclared": str(error)}
    groups = {"arguments": arguments, "constants": constants(vae)}
    frozen = [name for name, value in vae.named_parameters() if not value.requires_grad]
    return groups, {"declaration": declaration, "undeclared": "", "frozen": frozen}


def declared_in(
    tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> tuple[Groups, dict[str, Any]] | None:
    r"""What a checkpoint says of how its model was made, as :func:`declaration_of` does; None if
    it is of an earlier version, or of a recipe."""
    if not state.get("declaration"):
        return None
    groups = {name: dict(tensors[name]) for name in ("arguments", "constants")}
    return groups, {n: state[n] for n in ("declaration", "undeclared", "frozen") if n in state}


def created(tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Any:
    r"""Returns the untrained model that a checkpoint declares, None if it declares none."""
    if not state.get("declaration"):
        return None
    floats = [t.dtype for t in tensors["model"].values() if t.is_floating_point()]
    dtype = floats[0] if floats else torch.get_default_dtype()
    vae = create(state["declaration"], tensors["arguments"], dtype)
    own = dict(vae.named_buffers())
    for name, value in tensors["constants"].items():
        own[name].copy_(value)
    for name in state.get("frozen", ()):
        vae.get_parameter(name).requires_grad_(False)
    return vae
