r"""Do data and model fit each other? The door through which data enter training and evaluation."""

from collections.abc import Iterator
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
from ..objectives.planner import check_supports
from ..programs import (
    device_of,
    dtype_of,
    note_rows,
    rows_differ,
    sample_sites,
    undisturbed,
    weigh,
    weights_differ,
)

ELEMENTS_AT_ONCE = 1_000_000


def take(
    vae: Any,
    x: Tensor | np.ndarray | Split,
    index: Tensor | None = None,
    *,
    skip_checks: bool = False,
    source: str = "data",
) -> Split:
    r"""Returns data on the device of a model, checked against it, each split once.

    Arguments:
        vae: A VAE, or a program.
        x: The data, of shape `(B, *x_shape)`.
        index: The row numbers of the data, for posteriors that want them.
        skip_checks: Whether data are taken all the same. What is wrong with them then stands in
            ``Split.violation``, figures about them are of no density, and nobody asks again.
        source: What errors call the data.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support; or the
            two programs do not weigh their latent variables alike.
    """
    split = as_split(x, source, getattr(vae, "columns", ()))
    parts = ("prior", "likelihood", "posterior")
    split = replace(split, dtype=dtype_of(vae))
    is_vae = all(hasattr(vae, part) for part in parts)
    key = " ".join(str(id(getattr(vae, part))) for part in parts) if is_vae else ""
    if not key or split.checked != key:
        violation = ""
        try:
            if is_vae:
                with _in_words(vae, split):
                    check_data(vae, split)
            else:
                check_program(vae, split, index)
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
            x = split.to(device).rows(slice(0, 3))
            known = {"index": torch.arange(len(x), device=device)} if vae.posterior.index else {}
            told = first_mistake(vae, x, **known)
        raise ValueError(
            told
            or f"Expected a model and a guide that run on {split.source}; got "
            f"{type(error).__name__}: {error}"
        ) from error


def check_data(vae: Any, split: Split) -> None:
    r"""Checks every datum against a VAE: its shape, and the support of the likelihood.

    Data that may have holes are checked here alone: Pyro's own check knows no missing elements.

    Raises:
        ValueError: A datum has another shape, is not finite or lies outside the support.
    """
    with undisturbed(vae, 0) as device:
        expected = tuple(vae.model(batch_size=1).shape[1:])
        if expected != tuple(split.x_shape):
            raise ValueError(
                f"Expected x of shape (N, {', '.join(map(str, expected))}), as the likelihood's "
                f"event shape says; got (N, {', '.join(map(str, split.x_shape))}) in "
                f"{split.source}."
            )
        p, likelihood = vae.prior(), vae.likelihood
        law = likelihood(p.expand((2,)).sample())
        support = support_of(likelihood, law)
        check(split, support, type(likelihood).__name__, likelihood.missing)
        rows = split.to(device).rows(slice(0, 2))
        index = torch.arange(len(rows), device=device)
        q = vae.posterior(rows, index) if vae.posterior.index else vae.posterior(rows)
        check_supports(vae.prior, vae.posterior, p, q)
        if q.event_shape != p.event_shape or q.batch_shape != rows.shape[:1]:
            told = first_mistake(vae, rows, **({"index": index} if vae.posterior.index else {}))
            raise ValueError(
                told
                or f"Expected z of shape {tuple(p.event_shape)} for each datum, as the prior "
                f"says; got {tuple(q.shape())} of {len(rows)} data from the posterior."
            )


def check_start(vae: Any, split: Split) -> None:
    r"""Checks the first rows under Pyro's own validation, which is off in training.

    Raises:
        ValueError: A parameter is out of its range, or the ELBO is not finite.
    """
    with undisturbed(vae, 0) as device:
        rows = split.to(device).rows(slice(0, 2))
        index = torch.arange(len(rows), device=device)
        with pyro.validation_enabled(not vae.likelihood.missing):
            weights = weigh(vae.model, vae.guide, rows, 1, index=index)
    bound = float(weights.log_weights.mean())
    if not isfinite(bound):
        raise ValueError(
            f"Expected a finite ELBO at the start; got {bound} nats per datum on the "
            f"first rows of {split.source}. Check the scale of the data and the initial weights."
        )


def check_program(vae: Any, split: Split, index: Tensor | None = None) -> None:
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
            x = split.rows(slice(start, start + size))
            known = {} if index is None else {"index": index[start : start + size].to(device)}
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


def check_rows(vae: Any, index: Tensor | None) -> None:
    r"""Refuses data without row numbers where the posterior has parameters by row."""
    posterior = getattr(vae, "posterior", None)
    if index is None and getattr(posterior, "index", False):
        raise ValueError(
            f"Expected row numbers of training data, for which alone {type(posterior).__name__} "
            "has parameters; got none. Give index=, or evaluate the training data."
        )
