r"""Do data and model fit each other? The door through which data enter training and evaluation."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite, prod
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..data import Split, as_split, check
from ..distributions import describe, elementwise, support_of
from ..mistakes import first_mistake
from ..objectives.supports import check_supports
from ..programs import (
    device_of,
    dtype_of,
    family_of,
    guide_name,
    is_vae,
    note_rows,
    plainly,
    refused,
    rows_differ,
    sample_sites,
    traces,
    undisturbed,
    wants_rows,
    weigh,
    weights_differ,
)

ELEMENTS_AT_ONCE = 1_000_000


def take(
    vae: Any,
    x: Tensor | np.ndarray | Split,
    known: Mapping[str, Any] | None = None,
    *,
    skip_checks: bool = False,
    source: str = "data",
) -> Split:
    r"""Returns data on the device of a model, checked against it, each split once.

    Arguments:
        vae: A VAE, or a program.
        x: The data, of shape `(B, *x_shape)`.
        known: What model and guide take besides, beside what a split knows itself: row numbers,
            conditions, values of other sites.
        skip_checks: Whether data are taken all the same. What is wrong with them then stands in
            ``Split.violation``, figures about them are of no density, and nobody asks again.
        source: What errors call the data.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support; what is
            known is not what the programs take; or they do not weigh their latent variables alike.
    """
    split = as_split(x, source, getattr(vae, "columns", ())).knowing(**(known or {}))
    split = replace(split, dtype=dtype_of(vae))
    if "index" in split.known and refused(vae, ["index"]):  # row numbers for who wants them
        split = replace(split, known={n: v for n, v in split.known.items() if n != "index"})
    if told := refused(vae, split.known):
        raise ValueError(told)
    parts = ("prior", "likelihood", "posterior")
    key = " ".join(str(id(getattr(vae, part))) for part in parts) if is_vae(vae) else ""
    if not key or split.checked != key:
        violation = ""
        try:
            if key:
                with plainly(), _in_words(vae, split):
                    check_data(vae, split)
            else:
                with plainly():
                    check_program(vae, split)
        except ValueError as error:
            if not skip_checks:
                raise
            violation = str(error)
        split = replace(split, checked=key, violation=violation)
    return split.to(device_of(vae))


@contextmanager
def _in_words(vae: Any, split: Split) -> Iterator[None]:
    r"""Turns an exception of the networks into the sentence of the mistake."""
    try:
        yield
    except (RuntimeError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
        with undisturbed(vae, 0) as device:
            x, known = _few(vae, split.to(device), 3)
            told = first_mistake(vae, x, **known)
        raise ValueError(
            told
            or f"Expected a model and a guide that run on {split.source}; got "
            f"{type(error).__name__}: {error}"
        ) from error


def _few(vae: Any, split: Split, count: int) -> tuple[Tensor, dict[str, Any]]:
    r"""Some data with what is known of them, any row numbers where none are."""
    rows = slice(0, count)
    x, known = split.rows(rows), split.known_at(rows)
    if wants_rows(vae):
        known.setdefault("index", torch.arange(len(x), device=x.device))
    return x, known


def check_data(vae: Any, split: Split) -> None:
    r"""Checks every datum against a VAE: its shape, and the support of the likelihood; and what
    is known besides against the supports of its sites.

    Data that may have holes are checked here alone: Pyro's own check knows no missing elements.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support; or what
            is known is not what factors are given.
    """
    flat = [n for n in getattr(vae, "conditions", ()) if _is_flat(split.known.get(n))]
    if flat:
        raise ValueError(
            f"Expected {flat[0]} of shape (N, ...); got {tuple(split.known[flat[0]].shape)}. Give "
            f"a column as {flat[0]}[:, None], and classes as one-hot rows."
        )
    with undisturbed(vae, 0) as device:
        split = split.to(device)
        x, known = _few(vae, split, 2)
        expected = tuple(vae.model(**known).shape[1:])
        if expected != tuple(split.x_shape):
            raise ValueError(
                f"Expected x of shape (N, {', '.join(map(str, expected))}), as the likelihood's "
                f"event shape says; got (N, {', '.join(map(str, split.x_shape))}) in "
                f"{split.source}."
            )
        q, p = traces(vae.model, vae.guide, x, 1, **known)
        for name, site in q.items():
            prior, posterior = (family_of(vae, role, name) for role in ("prior", "posterior"))
            if name not in p or prior is None:
                continue
            here, there = site["fn"], p[name]["fn"]
            check_supports(prior, posterior, there, getattr(here, "base", here))
            if here.event_shape != there.event_shape or here.batch_shape != x.shape[:1]:
                raise ValueError(
                    first_mistake(vae, x, **known)
                    or f"Expected {name} of shape {tuple(there.event_shape)} for each datum, as "
                    f"the prior says; got {tuple(here.shape())} of {len(x)} data from the "
                    "posterior."
                )
        for name, site in p.items():
            family = family_of(vae, "likelihood", name)
            if family is None:
                continue
            support, missing = support_of(family, site["fn"]), getattr(family, "missing", False)
            seen = split if name == "x" else _of_site(split, name)
            if seen is not None:
                check(seen, support, type(family).__name__, missing)
        for name, site in p.items():
            if name in split.known and not site["is_observed"]:
                _check_known(split.known[name], name, site["fn"], split.source)
        _check_gaps(vae, split)


def _is_flat(value: Tensor | None) -> bool:
    return value is not None and value.dim() == 1 and value.is_floating_point()


def _check_gaps(vae: Any, split: Split) -> None:
    r"""Refuses what is given to factors with NaN in it, where they return NaN for that."""
    for name, value in split.known.items():
        if name in vae.latents or not value.is_floating_point():
            continue
        rows = value.reshape(len(value), -1).isnan().any(1).nonzero()[:, 0]
        size = max(1, ELEMENTS_AT_ONCE // prod(split.x_shape))
        for some in rows.split(size) if len(rows) else ():
            x, known = split.batch(some)
            wrong = weigh(vae.model, vae.guide, x, 1, **known).log_weights[0].isnan()
            if bool(wrong.any()):
                raise ValueError(
                    f"Expected {name} without holes, as networks that are given it return NaN; "
                    f"got NaN in row {int(some[wrong][0])} of {split.source}. Fill them, or let "
                    "the network see what is there (pv.nn.Observed)."
                )


def _of_site(split: Split, name: str) -> Split | None:
    r"""What is known of another observed site, as data."""
    value = split.known.get(name)
    if value is None:
        return None
    return Split(value, dtype=split.dtype, source=f"{name} of {split.source}", device=split.device)


def _check_known(value: Tensor, name: str, law: Any, source: str) -> None:
    r"""Refuses values of a latent site that it cannot have; rows with NaN are not known."""
    there = value[~value.reshape(len(value), -1).isnan().any(1)]
    good = law.support.check(there) if len(there) else torch.ones(0, dtype=torch.bool)
    if not bool(good.all()):
        raise ValueError(
            f"Expected values of {name} in {describe(law.support)} in {source}; got "
            f"{there[~good.reshape(len(there), -1).all(1)][0].tolist()}."
        )


def check_start(vae: Any, split: Split) -> None:
    r"""Checks the first rows under Pyro's own validation, which is off in training.

    Raises:
        ValueError: A parameter is out of its range, or the ELBO is not finite.
    """
    missing = getattr(getattr(vae, "likelihood", None), "missing", False)
    with undisturbed(vae, 0) as device:
        x, known = _few(vae, split.to(device), 2)
        with pyro.validation_enabled(not missing):
            weights = weigh(vae.model, vae.guide, x, 1, **known)
    bound = float(weights.log_weights.mean())
    if not isfinite(bound):
        raise ValueError(
            f"Expected a finite ELBO at the start; got {bound} nats per datum on the "
            f"first rows of {split.source}. Check the scale of the data and the initial weights."
        )


def check_program(vae: Any, split: Split) -> None:
    r"""Checks what a program observes of every datum against the support at its site, and that
    model and guide weigh latent variables alike.

    Raises:
        ValueError: A value lies outside the support, or a scale, a mask or the rows of a plate
            differ between the programs.
    """
    size = max(1, ELEMENTS_AT_ONCE // max(1, prod(split.x_shape)))
    with undisturbed(vae, 0) as device:
        split = split.to(device)
        for start in range(0, len(split), size):
            x, known = split.batch(slice(start, start + size))
            rows = note_rows()
            q = poutine.trace(vae.guide).get_trace(x, **known)
            p = poutine.trace(poutine.replay(rows(vae.model), trace=q)).get_trace(x, **known)
            guided, modelled = sample_sites(q), sample_sites(p)
            told = [rows_differ(q, rows.rows)]
            for name, site in modelled.items():
                if site["is_observed"]:
                    told.append(_outside(name, site, start, split.source))
                elif name in guided:
                    told.append(weights_differ(name, guided[name], site))
            for sentence in filter(None, told):
                raise ValueError(sentence)


def _outside(name: str, site: Any, start: int, source: str) -> str | None:
    r"""A sentence where an observed value lies outside of the support at its site."""
    value, law = site["value"], site["fn"]
    try:
        support = elementwise(law.support)
    except (NotImplementedError, AttributeError):
        return None
    if not isinstance(value, Tensor) or site["infer"].get("_deterministic"):
        return None
    good = torch.as_tensor(support.check(value))
    if good.shape == value.shape:
        good = good & (value.isfinite() if value.is_floating_point() else True)
    if isinstance(site["mask"], Tensor):
        mask = site["mask"]
        good = good | ~mask.reshape(*mask.shape, *[1] * (good.dim() - mask.dim()))
    if site["mask"] is False or bool(good.all()):
        return None
    place = (~good).nonzero()[0].tolist()
    bad = value[tuple(place)]
    got = f"{float(bad):g}" if bad.numel() == 1 else str(bad.tolist())
    row = f", row {start + place[0]}, position {tuple(place[1:])}" if place else ""
    return (
        f"Expected values in {describe(support)}, the support of {type(law).__name__} at site "
        f"{name!r}; got {got} in {source}{row}. Take a likelihood for such data."
    )


def check_rows(vae: Any, known: Mapping[str, Any]) -> None:
    r"""Refuses data without row numbers where the posterior has parameters by row."""
    if known.get("index") is None and wants_rows(vae) and is_vae(vae):
        raise ValueError(
            f"Expected row numbers of training data, for which alone {guide_name(vae)} "
            "has parameters; got none. Give index=, or evaluate the training data."
        )
