r"""Mistakes in the data."""

from itertools import chain
from math import prod

from torch import Tensor, nn

from .case import Case, of_failures
from .words import datum_shape, dtype, listed


def data_are_no_tensor(case: Case) -> str | None:
    r"""An array, or the list of tensors that a loader yields."""
    if isinstance(case.x, Tensor):
        return None
    kind = type(case.x).__name__
    if isinstance(case.x, list | tuple) and any(isinstance(part, Tensor) for part in case.x):
        return (
            f"Expected data as a tensor; got a {kind} that holds one, as a DataLoader yields it. "
            "Write x, *_ = batch."
        )
    return f"Expected data as a tensor; got a {kind}. Write torch.as_tensor(x)."


def there_are_no_data(case: Case) -> str | None:
    r"""A batch without rows."""
    if case.x.dim() and len(case.x) == 0:
        return (
            f"Expected at least one datum; got x of shape {listed(case.x.shape)}. Look at what "
            "selects the rows."
        )
    return None


def one_datum_without_a_batch(case: Case) -> str | None:
    r"""``x`` where ``x[None]`` is meant."""
    shape = datum_shape(case.vae)
    if case.x.dim() == 0 or tuple(case.x.shape) == shape:
        return (
            f"Expected a batch of data, of shape {listed(('B', *(shape or ('D',))))}; got one "
            f"datum of shape {listed(case.x.shape)}. Write x[None]."
        )
    return None


@of_failures
def data_have_another_layout(case: Case) -> str | None:
    r"""Images for a VAE of vectors, or columns for rows."""
    shape, got = datum_shape(case.vae), tuple(case.x.shape)
    if shape is None or got[1:] == shape:
        return None
    if prod(got[1:]) == prod(shape):
        sizes = ", ".join(map(str, shape))
        remedy = "x.flatten(1)" if len(shape) == 1 else f"x.reshape(-1, {sizes})"
    elif len(got) == 2 and got[:1] == shape:
        remedy = "x.T"
    else:
        return None
    return (
        f"Expected x of shape {listed(('B', *shape))}, as the decoder makes it; got "
        f"{listed(got)}. Write {remedy}."
    )


@of_failures
def data_are_integers(case: Case) -> str | None:
    r"""Whole numbers that a network is to multiply."""
    if not case.x.dtype.is_floating_point:
        return (
            f"Expected data in floating point, which networks multiply; got {dtype(case.x)}. "
            "Write x.float()."
        )
    return None


@of_failures
def data_are_not_finite(case: Case) -> str | None:
    r"""NaN or infinity, where no mask takes care of it."""
    missing = getattr(getattr(case.vae, "likelihood", None), "missing", False)
    good = case.x.isfinite() | (case.x.isnan() if missing else False)
    if not good.all():
        row, *place = (~good).nonzero()[0].tolist()
        return (
            f"Expected finite data; got {float(case.x[(row, *place)])} in row {row}, position "
            f"{tuple(place)}. Fill or drop it, or take a likelihood for tables with holes."
        )
    return None


@of_failures
def data_have_another_dtype_or_device(case: Case) -> str | None:
    r"""Data in double precision under networks in single, or on another device."""
    modules = [case.vae] if isinstance(case.vae, nn.Module) else []
    parameter = next(chain(*(m.parameters() for m in modules), case.parameters), None)
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
