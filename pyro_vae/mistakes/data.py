r"""Mistakes in the data."""

import torch
from torch import Tensor

from .case import Case
from .words import datum_shape, dtype, listed


def data_are_no_tensor(case: Case) -> str | None:
    if not isinstance(case.x, Tensor):
        kind = type(case.x).__name__
        return f"Expected data as a tensor; got a {kind}. Write torch.as_tensor(x)."
    return None


def one_datum_without_a_batch(case: Case) -> str | None:
    shape = datum_shape(case.vae)
    if case.x.dim() == 0 or tuple(case.x.shape) == shape:
        return (
            f"Expected a batch of data, of shape {listed(('B', *(shape or ('D',))))}; got one "
            f"datum of shape {listed(case.x.shape)}. Write x[None]."
        )
    return None


def data_are_integers(case: Case) -> str | None:
    if not case.x.dtype.is_floating_point:
        return (
            f"Expected data in floating point, which networks multiply; got {dtype(case.x)}. "
            "Write x.float()."
        )
    return None


def data_are_not_finite(case: Case) -> str | None:
    missing = getattr(getattr(case.vae, "likelihood", None), "missing", False)
    good = case.x.isfinite() | (case.x.isnan() if missing else False)
    if not good.all():
        row, *place = (~good).nonzero()[0].tolist()
        return (
            f"Expected finite data; got {float(case.x[(row, *place)])} in row {row}, position "
            f"{tuple(place)}. Fill or drop it, or take a likelihood for tables with holes."
        )
    return None


def data_have_another_dtype_or_device(case: Case) -> str | None:
    modules = [case.vae] if isinstance(case.vae, torch.nn.Module) else []
    parameter = next((p for m in modules for p in m.parameters()), None)
    if parameter is None:
        return None
    if parameter.dtype != case.x.dtype:
        return (
            f"Expected data of the dtype of the parameters, {dtype(parameter)}; got "
            f"{dtype(case.x)}. Write x.to({dtype(parameter)})."
        )
    if parameter.device != case.x.device:
        return (
            f"Expected data on the device of the parameters, {parameter.device}; got "
            f"{case.x.device}. Write x.to('{parameter.device}')."
        )
    return None
