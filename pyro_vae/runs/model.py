r"""The trained model of a run."""

import warnings
from typing import Any

import torch

from ..build import build_model, find_device
from ..data import Column
from .saved import created
from .state import load_parameters
from .storage import CheckpointCorrupt, understood


def load_model(run: Any, device: str, vae: Any = None) -> Any:
    r"""Builds the model of a run, or uses `vae`, and loads the parameters of the best epoch."""
    source, tensors, state = run.read()
    with understood(source):
        parameters = tensors["best"] or tensors["model"]
        if vae is None:
            vae = created(tensors, state) or _untrained(run.record_in(source, state))
        columns = tuple(Column(name, tuple(codes)) for name, codes in state.get("columns", ()))
    if wrong := [name for name, t in parameters.items() if not t.isfinite().all()]:
        raise CheckpointCorrupt(
            f"Expected finite parameters in {source}; got others in {', '.join(wrong[:5])}. Use "
            "another checkpoint and delete this one."
        )
    parameters = _in_single(parameters, source)
    floats = [t.dtype for t in parameters.values() if t.dtype in (torch.float32, torch.float64)]
    if floats:  # regardless of the current default dtype
        vae = vae.to(floats[0])
    load_parameters(vae, parameters, source)
    vae.columns = columns
    return vae.to(find_device(device)).eval()


def _in_single(parameters: dict[str, Any], source: Any) -> dict[str, Any]:
    r"""Parameters of half precision in single precision, which has all of their values."""
    halves = {t.dtype for t in parameters.values()} & {torch.bfloat16, torch.float16}
    if not halves:
        return parameters
    names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in halves))
    warnings.warn(
        f"The parameters in {source} are {names}; they are used as float32, with the same values.",
        stacklevel=2,
    )
    return {n: t.float() if t.dtype in halves else t for n, t in parameters.items()}


def _untrained(recorded: Any) -> Any:
    data = recorded.data
    shapes = {n: tuple(shape) for n, shape in recorded.form.get("known", {}).items()}
    size = int(data["sizes"]["train"])
    return build_model(recorded.recipe, recorded.x_shape, recorded.scale, None, size, shapes)
