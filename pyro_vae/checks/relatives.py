r"""Do data and a relative of the VAE fit each other?"""

from dataclasses import replace

import torch
from torch.distributions import constraints

from ..data import Split
from ..distributions import describe_support, same
from ..gallery import Relative
from ..programs import device_of, dtype_of
from ..registration import kind_of


def take_for_relative(model: Relative, split: Split, skip_checks: bool = False) -> Split:
    r"""Returns data on the device of a relative, checked against it, each split once.

    Arguments:
        model: The relative.
        split: The data.
        skip_checks: Whether values outside its support are taken all the same; what is wrong then
            stands in ``Split.violation``.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support; or there
            are holes or further inputs.
    """
    split = replace(split, dtype=dtype_of(model))
    if split.checked != (key := str(id(model))):
        _check_form(model, split)
        violation = _violation(model, split)
        if violation and not skip_checks:
            raise ValueError(violation)
        split = replace(split, checked=key, violation=violation)
    return split.to(device_of(model))


def _check_form(model: Relative, split: Split) -> None:
    name = kind_of(type(model))
    if split.known:
        raise ValueError(
            f"Expected x alone, as a relative such as {name} takes no conditions; got "
            f"{', '.join(split.known)}, too. Leave data.known out."
        )
    if split.holes is not None or split.hole_rate:
        raise ValueError(
            f"Expected data without holes for {name}; got some by data.holes. Leave it out, or "
            "use a VAE with --likelihood.missing at-random."
        )
    if split.x_shape != model.x_shape:
        expected, got = (
            "(" + ", ".join(map(str, ("N", *s))) + ")" for s in (model.x_shape, split.x_shape)
        )
        raise ValueError(f"Expected x of shape {expected}; got {got} in {split.source}.")


def _violation(model: Relative, split: Split) -> str:
    r"""What is wrong with the first value outside the support, if there is one."""
    support, start = model.support, 0
    if split.binarize != "no":
        split, support = replace(split, binarize="no", range="unit"), constraints.unit_interval
    for x in split.chunks():
        good = support.check(x) & x.isfinite()
        if not good.all():
            row, *place = (~good).nonzero()[0].tolist()
            unit = any(
                same(support, of) for of in (constraints.boolean, constraints.unit_interval)
            )
            shares = unit and torch.isfinite(x).all() and (split.levels or x.min() >= 0)
            remedy = "Binarize the data (--data.binarize dynamic)" if shares else "Correct it"
            return (
                f"Expected values in {describe_support(support)}, the support of "
                f"{kind_of(type(model))}; got {float(x[(row, *place)]):g} in {split.source}, row "
                f"{start + row}, position {tuple(place)}. {remedy}, or choose another model."
            )
        start += len(x)
    return ""
