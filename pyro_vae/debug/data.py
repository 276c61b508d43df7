r"""Mistakes in the data."""

from collections.abc import Iterator
from itertools import chain
from math import prod

from torch import Tensor, nn

from .case import Case
from .words import datum_shape, listed


def not_a_tensor(case: Case) -> Iterator[str]:
    r"""An array, or the list of tensors that a loader yields."""
    if isinstance(case.x, list | tuple) and any(isinstance(part, Tensor) for part in case.x):
        yield (
            f"Expected data as a tensor; got a {'list' if isinstance(case.x, list) else 'tuple'} "
            "that holds one, as a DataLoader yields it. Write x, *_ = batch."
        )
    elif not isinstance(case.x, Tensor):
        yield (
            f"Expected data as a tensor; got an object of type {type(case.x).__name__}. Write "
            "torch.as_tensor(x)."
        )


def no_rows(case: Case) -> Iterator[str]:
    r"""An empty batch."""
    if case.x.dim() and len(case.x) == 0:
        yield (
            f"Expected at least one datum; got x of shape {listed(case.x.shape)}. Check what "
            "selects the rows."
        )


def no_batch(case: Case) -> Iterator[str]:
    r"""``x`` where ``x[None]`` is meant."""
    shape = datum_shape(case.vae)
    if case.x.dim() == 0 or tuple(case.x.shape) == shape:
        yield (
            f"Expected a batch of data, of shape {listed(('B', *(shape or ('D',))))}; got one "
            f"datum of shape {listed(case.x.shape)}. Write x[None]."
        )


def other_layout(case: Case) -> Iterator[str]:
    r"""Images for a VAE of vectors, or columns for rows."""
    shape, got = datum_shape(case.vae), tuple(case.x.shape)
    if shape is None or got[1:] == shape:
        return
    if prod(got[1:]) == prod(shape):
        sizes = ", ".join(map(str, shape))
        remedy = "x.flatten(1)" if len(shape) == 1 else f"x.reshape(-1, {sizes})"
    elif len(got) == 2 and got[:1] == shape:
        remedy = "x.T"
    else:
        return
    yield (
        f"Expected x of shape {listed(('B', *shape))}, as the decoder makes it; got "
        f"{listed(got)}. Write {remedy}."
    )


def integers(case: Case) -> Iterator[str]:
    r"""Whole numbers that a network is to multiply."""
    if not case.x.dtype.is_floating_point:
        yield (
            f"Expected data in floating point, which networks multiply; got {case.x.dtype}. "
            "Write x.float()."
        )


def not_finite(case: Case) -> Iterator[str]:
    r"""NaN or infinity, where no mask takes care of it."""
    missing = getattr(getattr(case.vae, "likelihood", None), "missing", False)
    good = case.x.isfinite() | (case.x.isnan() if missing else False)
    if not good.all():
        row, *place = (~good).nonzero()[0].tolist()
        yield (
            f"Expected finite data; got {float(case.x[(row, *place)])} in row {row}, position "
            f"{tuple(place)}. Fill or drop it, or use a likelihood for tables with holes."
        )


def other_dtype_or_device(case: Case) -> Iterator[str]:
    r"""Data in double precision under networks in single, or on another device."""
    modules = [case.vae] if isinstance(case.vae, nn.Module) else []
    parameter = next(chain(*(m.parameters() for m in modules), case.parameters), None)
    if parameter is None:
        return
    if parameter.dtype != case.x.dtype:
        yield (
            f"Expected data of the dtype of the parameters, {parameter.dtype}; got "
            f"{case.x.dtype}. Write x.to({parameter.dtype})."
        )
    if parameter.device != case.x.device:
        yield (
            f"Expected data on the device of the parameters, {parameter.device}; got "
            f"{case.x.device}. Write x.to('{parameter.device}')."
        )
