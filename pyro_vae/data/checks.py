r"""Whether a likelihood can have produced the data: support, missing values, precision."""

from dataclasses import replace

import numpy as np
import torch
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..distributions import Between, ByColumn, describe_support, open_unit_interval, same
from ..ranks import Part
from .split import Split, moments

AT_RANDOM = (
    "Set likelihood.missing to at-random (--likelihood.missing at-random; in Python, "
    "pv.likelihoods.MissingAtRandom)."
)
SHARE_OF_SD = 1e-3  # spacing of neighbouring floats that does not matter to a distribution


def check(
    split: Split,
    support: Constraint,
    family: str,
    missing: bool = False,
    part: Part | None = None,
) -> None:
    r"""Checks that every datum is finite (or missing, if allowed) and in the likelihood's support.

    Arguments:
        split: The data.
        support: The support of one element of `x`.
        family: The name of the likelihood, for the message.
        missing: Whether elements may be missing (NaN).
        part: The rows that are checked; by default all.

    Raises:
        ValueError: A value is not; the message names its place, the support and remedies.
    """
    if not missing and (split.holes is not None or split.hole_rate):
        raise ValueError(
            f"Expected a likelihood of data with holes, which {split.source} have by data.holes; "
            f"got {family}. {AT_RANDOM}"
        )
    split = replace(split, hole_rate=0.0, pose=())
    if split.binarize != "no":  # bits, if the pixels are probabilities
        as_grey = replace(split, binarize="no", range="unit", holes=None)
        _check_rows(as_grey, constraints.unit_interval, "Binarization", False, split, part)
        part = None
        split = Split(torch.tensor([[0.0], [1.0]]), source=split.source)
    else:
        _check_spacing(split)
    _check_rows(split, support, family, missing, split, part)


def _check_spacing(split: Split) -> None:
    r"""Refuses numbers whose differences are lost in single precision."""
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
        f"Expected values that single precision can tell apart; got {name} of {split.source} near "
        f"{at:.6g} with standard deviation {sd:.3g}, where neighbours lie {step:.2g} apart. "
        "Subtract a constant from it first (count time from its start), or use double precision: "
        "--train.precision float64 (in Python, vae.double())."
    )


def _check_rows(
    split: Split,
    support: Constraint,
    family: str,
    missing: bool,
    original: Split,
    part: Part | None,
) -> None:
    start, rows, _ = part or (0, len(split), 0)
    for x in split.chunks(start=start, stop=start + rows):
        good = support.check(x) & x.isfinite()
        if support.is_discrete and x.dtype.is_floating_point:  # held exactly, up to 2^24 in single
            good &= (x.abs() <= 2.0 / torch.finfo(x.dtype).eps) | ~x.isfinite()
        if missing:
            good |= x.isnan()
        if not good.all():
            row, *place = (~good).nonzero()[0].tolist()
            value = float(x[(row, *place)])
            own = support.at(place[0]) if isinstance(support, ByColumn) else support
            where = "" if own is support else " in this column"
            raise ValueError(
                f"Expected values in {describe_support(own)}, the support of {family}{where}; got "
                f"{value:g} in {split.source}, row {start + row}, position {tuple(place)}."
                f"{_remedy(value, own, family, original)}"
            )
        start += len(x)


def _remedy(value: float, support: Constraint, family: str, split: Split) -> str:
    r"""What to do about a value outside the support; every remedy named here works."""
    levels = split.levels
    if np.isnan(value):
        return (
            " Use a likelihood of data with holes: --likelihood.missing at-random (in Python, "
            "pv.likelihoods.MissingAtRandom), or for tables of mixed columns product; or fill "
            "such values first."
        )
    if not np.isfinite(value):
        return " Remove or replace such values first."
    if support.is_discrete and abs(value) > 2**24:
        return (
            f" Single precision cannot represent every whole number above {2**24}: count "
            "in larger units (thousands), or set torch.set_default_dtype(torch.float64)."
        )
    real = "use a likelihood for real numbers (--likelihood.kind gaussian)"
    low, high = _extremes(split)
    if isinstance(support, Between):
        return (
            " Values at a limit stand for all that is beyond it: set such values to the limit, or "
            "move the limit (lower, upper)."
        )
    if value == 0 and same(support, constraints.positive) and (low >= 0 or family == "Product"):
        kind = "gamma" if family == "Gamma" else "log-normal"
        flags = f"--likelihood.kind hurdle --likelihood.family.kind {kind}"
        table = f'{{ kind = "hurdle", family = {{ kind = "{kind}" }} }}'
        how = table if family == "Product" else flags
        return f" Zeros that are data have a probability of their own in a hurdle ({how})."
    shares = levels is not None or (low >= 0 and high <= 1)
    if same(support, open_unit_interval) and shares and split.range == "unit":
        return " Move such values inside, or use --likelihood.kind continuous-bernoulli."
    if same(support, constraints.boolean) and shares:
        count = f" --likelihood.kind binomial --likelihood.total-count {levels}" if levels else ""
        count = f", or{count} --data.range levels" if count else ""
        return f" Binarize the pixels (--data.binarize dynamic), or {real}{count}."
    if levels and support.is_discrete and split.range == "unit" and split.binarize == "no":
        more = ""
        if levels > getattr(support, "upper_bound", levels):
            size = f"total-count {levels}" if family == "Binomial" else f"num-levels {levels + 1}"
            more = f" --likelihood.{size}"
        return f" Do not divide the grey levels (--data.range levels{more}), or {real}."
    if levels and not support.is_discrete and split.range == "levels" and high > 1:
        return f" Divide the grey levels (--data.range unit), or {real}."
    return f" Correct such values, or {real}."


def _extremes(split: Split) -> tuple[float, float]:
    r"""The lowest and the highest of all finite values."""
    split = replace(split, binarize="no")
    ends = [x[x.isfinite()] for x in split.chunks()]
    return min(float(x.min()) for x in ends if len(x)), max(float(x.max()) for x in ends if len(x))
