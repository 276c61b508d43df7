r"""The door through which data enter training and evaluation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor

from ..base import factors_of
from ..data import Split, as_split
from ..debug.mistakes import first_mistake
from ..gallery import Relative
from ..programs import (
    as_program,
    device_of,
    dtype_of,
    guide_name,
    is_vae,
    plainly,
    refused,
    undisturbed,
    wants_rows,
    weigh,
)
from ..ranks import Part
from .data import check_data, check_program, first_rows
from .relatives import take_for_relative

Data = Tensor | np.ndarray | Split


@contextmanager
def opened(
    vae: Any,
    x: Data,
    known: Mapping[str, Any],
    seed: int,
    *,
    freeze: bool = False,
    rows: bool = True,
    skip_checks: bool = False,
) -> Iterator[tuple[Any, Split]]:
    r"""Opens a model and data for an evaluation, which leaves no trace (:func:`undisturbed`).

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        known: Further inputs of the programs.
        seed: Seeds what is drawn inside.
        freeze: Whether bits that are drawn at every visit are drawn once.
        rows: Whether row numbers are needed where the posterior has parameters by row.
        skip_checks: As in :func:`take`.

    Yields:
        The program and the data, checked.
    """
    program = as_program(vae)
    with undisturbed(program, seed):
        split = take(program, x, known, skip_checks=skip_checks)
        split = split.freeze(seed) if freeze else split
        if rows:
            check_rows(program, split.known)
        yield program, split


def take(
    vae: Any,
    x: Data,
    known: Mapping[str, Any] | None = None,
    *,
    skip_checks: bool = False,
    source: str = "data",
    part: Part | None = None,
) -> Split:
    r"""Returns data on the device of a model, checked against it, each split once.

    Arguments:
        vae: A VAE, a program, or a relative.
        x: The data, of shape `(B, *x_shape)`.
        known: Further inputs of model and guide that the split does not hold: row numbers,
            conditions, values of other sites.
        skip_checks: Whether data are taken all the same. What is wrong with them then stands in
            ``Split.violation``; their metrics are no log densities, and nobody checks again.
        source: What errors call the data.
        part: Whose values are checked, where other ranks check the others.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support; further
            inputs are not what the programs take; or model and guide weight latent variables
            differently.
    """
    split = as_split(x, source, getattr(vae, "columns", ())).knowing(**(known or {}))
    if isinstance(vae, Relative):
        return take_for_relative(vae, split, skip_checks)
    split = telling_holes(vae, replace(split, dtype=dtype_of(vae)))
    if "index" in split.known and refused(vae, ["index"]):  # row numbers for who wants them
        split = replace(split, known={n: v for n, v in split.known.items() if n != "index"})
    if shown := refused(vae, split.known):
        raise ValueError(shown)
    parts = ("prior", "likelihood", "posterior")
    key = " ".join(str(id(getattr(vae, part))) for part in parts) if is_vae(vae) else ""
    if not key or split.checked != key:
        violation = ""
        try:
            with plainly(), _in_words(vae, split) if key else nullcontext():
                check_data(vae, split, part) if key else check_program(vae, split)
        except ValueError as error:
            if not skip_checks:
                raise
            violation = str(error)
        split = replace(split, checked=key, violation=violation)
    return split.to(device_of(vae))


def telling_holes(vae: Any, split: Split) -> Split:
    r"""Returns the split with the values of sites that say which elements of `x` are missing.

    Raises:
        ValueError: Holes are drawn at every visit.
    """
    if not is_vae(vae):
        return split
    factors = dict(factors_of(vae.likelihood, "x"))
    names = [n for n, f in factors.items() if getattr(f, "tells_holes", False)]
    lacking = [name for name in names if name not in split.known]
    if not lacking:
        return split
    if split.hole_rate:
        raise ValueError(
            f"Expected holes that stay where they are, of which {lacking[0]} is; got holes that "
            "are drawn at every visit."
        )
    as_stored = replace(split, binarize="no")  # draws no bits
    holes = torch.cat([x.isnan() for x in as_stored.chunks()])
    dtype = split.dtype or torch.get_default_dtype()
    return split.knowing(**{name: holes.to(dtype) for name in lacking})


@contextmanager
def _in_words(vae: Any, split: Split) -> Iterator[None]:
    r"""Turns an exception of the networks into the sentence of the mistake."""
    try:
        yield
    except (RuntimeError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
        with undisturbed(vae, 0) as device:
            x, known = first_rows(vae, split.to(device), 3)
            shown = first_mistake(vae, x, **known)
        raise ValueError(
            shown
            or f"Expected a model and a guide that run on {split.source}; got "
            f"{type(error).__name__}: {error}"
        ) from error


def check_start(vae: Any, split: Split) -> None:
    r"""Checks the first rows under Pyro's own validation, which is off in training.

    Raises:
        ValueError: A parameter is out of its range, or the ELBO is not finite.
    """
    missing = getattr(getattr(vae, "likelihood", None), "missing", False)
    with undisturbed(vae, 0) as device:
        x, known = first_rows(vae, split.to(device), 2)
        with pyro.validation_enabled(not missing):
            weights = weigh(vae.model, vae.guide, x, 1, **known)
    bound = float(weights.log_weights.mean())
    if not isfinite(bound):
        raise ValueError(
            f"Expected a finite ELBO at the start; got {bound} nats per datum on the "
            f"first rows of {split.source}. Check the scale of the data and the initial weights."
        )


def check_rows(vae: Any, known: Mapping[str, Any]) -> None:
    r"""Refuses data without row numbers where the posterior has parameters by row."""
    if known.get("index") is None and wants_rows(vae) and is_vae(vae):
        raise ValueError(
            f"Expected row numbers of training data, for which alone {guide_name(vae)} "
            "has parameters; got none. Pass index=, or evaluate the training data."
        )
