r"""Do data and model fit each other?"""

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..data import Split, check
from ..debug.mistakes import first_mistake
from ..distributions import describe_support, elementwise, support_of
from ..objectives.supports import check_supports
from ..programs import (
    batches,
    family_of,
    note_rows,
    rows_at_once,
    rows_differ,
    sample_sites,
    traces,
    undisturbed,
    wants_rows,
    weigh,
    weights_differ,
)
from ..ranks import Part


def first_rows(vae: Any, split: Split, count: int) -> tuple[Tensor, dict[str, Any]]:
    r"""Some data with what is known of them, any row numbers where none are."""
    rows = slice(0, count)
    x, known = split.rows(rows), split.known_at(rows)
    if wants_rows(vae):
        known.setdefault("index", torch.arange(len(x), device=x.device))
    return x, known


def check_data(vae: Any, split: Split, part: Part | None = None) -> None:
    r"""Checks every datum against a VAE: its shape, and the support of the likelihood; and what
    else is known against the supports of its sites.

    Data that may have holes are checked here alone: Pyro's own check knows no missing elements.
    With a `part`, values of other rows are left to other ranks.

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
        x, known = first_rows(vae, split, 2)
        expected = tuple(vae.model(**known).shape[1:])
        if getattr(vae.prior, "sequential", False):  # of any length
            expected = (*split.x_shape[:1], *expected[1:])
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
                check(seen, support, type(family).__name__, missing, part)
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
        for some in rows.split(rows_at_once(split)) if len(rows) else ():
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
            f"Expected values of {name} in {describe_support(law.support)} in {source}; got "
            f"{there[~good.reshape(len(there), -1).all(1)][0].tolist()}."
        )


def check_program(vae: Any, split: Split) -> None:
    r"""Checks what a program observes of every datum against the support at its site, and that
    model and guide weight latent variables equally.

    Raises:
        ValueError: A value lies outside the support, or a scale, a mask or the rows of a plate
            differ between the programs.
    """
    with undisturbed(vae, 0) as device:
        split, start = split.to(device), 0
        for x, known in batches(split, rows_at_once(split)):
            rows = note_rows()
            q = poutine.trace(vae.guide).get_trace(x, **known)
            p = poutine.trace(poutine.replay(rows(vae.model), trace=q)).get_trace(x, **known)
            guided, modelled = sample_sites(q), sample_sites(p)
            shown = [rows_differ(q, rows.rows)]
            for name, site in modelled.items():
                if site["is_observed"]:
                    shown.append(_outside(name, site, start, split.source))
                elif name in guided:
                    shown.append(weights_differ(name, guided[name], site))
            for sentence in filter(None, shown):
                raise ValueError(sentence)
            start += len(x)


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
        f"Expected values in {describe_support(support)}, the support of {type(law).__name__} at "
        f"site {name!r}; got {got} in {source}{row}. Use a likelihood for such data."
    )
