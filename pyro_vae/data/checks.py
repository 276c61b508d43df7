r"""Whether a likelihood can have produced the data: supports, holes, precision."""

from dataclasses import replace

import numpy as np
import torch
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..distributions import describe_support, open_unit_interval, same
from .split import Split, moments

SHARE_OF_SD = 1e-3  # steps between neighbours that a distribution does not feel


def check(split: Split, support: Constraint, family: str, missing: bool = False) -> None:
    r"""Checks every datum: finite, or missing where it may, and in the support of the likelihood.

    Arguments:
        split: The data.
        support: The support of one element of `x`.
        family: The likelihood, for the message.
        missing: Whether elements may be missing (NaN).

    Raises:
        ValueError: Naming source, row, position, value, support and remedies.
    """
    if split.binarize != "no":  # bits, if the pixels are probabilities
        as_grey = replace(split, binarize="no", range="unit")
        _check_rows(as_grey, constraints.unit_interval, "Binarization", False, split)
        split = Split(torch.tensor([[0.0], [1.0]]), source=split.source)
    else:
        _check_spacing(split)
    _check_rows(split, support, family, missing, split)


def _check_spacing(split: Split) -> None:
    r"""Refuses numbers whose differences are lost between neighbours of single precision."""
    dtype = split.dtype or torch.get_default_dtype()
    if str(split.stored.dtype).rpartition(".")[2] not in ("float64", "int32", "int64"):
        return
    if dtype is torch.float64 or (split.range == "unit" and split.levels):
        return
    exact = replace(split, dtype=torch.float64)
    highest = torch.stack([x.abs().nan_to_num(0, 0, 0).amax(0) for x in exact.chunks()]).amax(0)
    spacing = highest * torch.finfo(dtype).eps
    mean, spread = moments(exact)
    lost = (spacing > SHARE_OF_SD * spread) & (spread > 0)
    if not lost.any():
        return
    place = lost.nonzero()[0].tolist()
    name = f"column {split.columns[place[0]].name!r}" if split.columns else f"position {place}"
    at, sd, step = (float(values[tuple(place)]) for values in (mean, spread, spacing))
    raise ValueError(
        f"Expected values that single precision tells apart; got {name} of {split.source} around "
        f"{at:.6g} with standard deviation {sd:.3g}, where neighbours lie {step:.2g} apart. "
        "Subtract a constant from it first (count time from its start), or compute in double: "
        "--train.precision float64 (in Python, vae.double())."
    )


def _check_rows(
    split: Split, support: Constraint, family: str, missing: bool, original: Split
) -> None:
    start = 0
    for x in split.chunks():
        good = support.check(x) & x.isfinite()
        if support.is_discrete and x.dtype.is_floating_point:  # held exactly, up to 2^24 in single
            good &= (x.abs() <= 2.0 / torch.finfo(x.dtype).eps) | ~x.isfinite()
        if missing:
            good |= x.isnan()
        if not good.all():
            row, *place = (~good).nonzero()[0].tolist()
            value = float(x[(row, *place)])
            raise ValueError(
                f"Expected values in {describe_support(support)}, the support of {family}; got "
                f"{value:g} in {split.source}, row {start + row}, position {tuple(place)}."
                f"{_remedy(value, support, original)}"
            )
        start += len(x)


def _remedy(value: float, support: Constraint, split: Split) -> str:
    r"""What to do about a value outside of the support; each way that is named works."""
    table, levels = len(split.x_shape) == 1, split.levels
    if np.isnan(value):
        product = ", or take a likelihood for tables with holes (product)" if table else ""
        return f" Fill such values first{product}."
    if not np.isfinite(value):
        return " Remove or replace such values first."
    if support.is_discrete and abs(value) > 2**24:
        return (
            f" Whole numbers above {2**24} have no place of their own in single precision: count "
            "in larger units (thousands), or set torch.set_default_dtype(torch.float64)."
        )
    real = "take a likelihood for real numbers (--likelihood.kind gaussian)"
    low, high = _extremes(split)
    shares = levels is not None or (low >= 0 and high <= 1)
    if same(support, open_unit_interval) and shares and split.range == "unit":
        return " Move such values inside, or take --likelihood.kind continuous-bernoulli."
    if same(support, constraints.boolean) and shares:
        count = f" --likelihood.kind binomial --likelihood.total-count {levels}" if levels else ""
        count = f", or{count} --data.range levels" if count else ""
        return f" Binarize the pixels (--data.binarize dynamic), or {real}{count}."
    if levels and support.is_discrete and split.range == "unit" and split.binarize == "no":
        return f" Keep the grey levels as they are (--data.range levels), or {real}."
    if levels and not support.is_discrete and split.range == "levels" and high > 1:
        return f" Divide the grey levels (--data.range unit), or {real}."
    return f" Correct such values, or {real}."


def _extremes(split: Split) -> tuple[float, float]:
    r"""The lowest and the highest of all finite values."""
    split = replace(split, binarize="no")
    ends = [x[x.isfinite()] for x in split.chunks()]
    return min(float(x.min()) for x in ends if len(x)), max(float(x.max()) for x in ends if len(x))
