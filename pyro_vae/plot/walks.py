r"""Walks through latent space that never leave its support."""

from math import pi
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from ..data import Split
from ..distributions import describe_support
from ..programs import as_program, dtype_of, latent_names, sample_sites, undisturbed

QUANTILES = (0.01, 0.99)
FEATURES = 10
CATEGORIES = 16


class Walk(NamedTuple):
    r"""Points along which one latent feature changes at a time.

    Attributes:
        z: The points, of shape `(rows * steps, latent_dim)`, those of sequences
            `(rows * steps, T, latent_dim)`.
        names: A name for each row.
        steps: How many points a row has.
        what: What changes along a row.
        total: How many rows there could be.
    """

    z: Tensor
    names: list[str]
    steps: int
    what: str
    total: int


def latent_laws(vae: Any, count: int, known: dict[str, Any]) -> dict[str, Any]:
    r"""The distributions that a model draws its latent variables from, by site."""
    vae = as_program(vae)
    with undisturbed(vae, 0) as device:
        given = {n: v.to(device, dtype_of(vae)) for n, v in known.items()}
        trace = poutine.trace(vae.model).get_trace(batch_size=count, **given)
        sites = sample_sites(trace)
        return {name: sites[name]["fn"] for name in latent_names(vae, trace)}


def walk_from(vae: Any, locs: dict[str, Tensor], seen: Split, steps: int) -> Walk:
    r"""Rows of points on the support of the prior, as it is evaluated."""
    some = seen.known_at(slice(0, 2))
    given = {n: some[n] for n in getattr(vae, "conditions", ()) if n in some}
    supports = {n: law.support for n, law in latent_laws(vae, min(2, len(seen)), given).items()}
    if len(locs) > 1:
        return _of_sites(locs, supports, steps)
    ((name, loc),) = locs.items()
    if loc.dim() == 3:
        return _of_sequences(loc, steps)
    loc, support = loc.flatten(1), supports[name]
    activity = loc.var(0) if len(loc) > 1 else torch.ones_like(loc[0])
    match describe_support(support):
        case "one-hot blocks":
            return _categories(loc, activity, int(getattr(support, "num_categories", 0)))
        case "{0, 1}":
            order = activity.argsort(descending=True)[:FEATURES].tolist()
            start = (loc[0] > 0.5).to(loc.dtype)
            z = start.repeat(2 * len(order), 1)
            for row, feature in enumerate(order):
                z[2 * row, feature], z[2 * row + 1, feature] = 0.0, 1.0
            names = [f"z{i + 1}" for i in order]
            return Walk(z, names, 2, "one bit is 0, then 1", loc.shape[1])
        case "the unit sphere":
            return _circles(loc, activity, steps)
    order = activity.argsort(descending=True)[:FEATURES].tolist()
    return _lines(loc, order, [f"z{i + 1}" for i in order], steps, loc.shape[1])


def _lines(loc: Tensor, order: list[int], names: list[str], steps: int, total: int) -> Walk:
    r"""Rows in which one real feature crosses its range over the data."""
    low, high = torch.quantile(loc, loc.new_tensor(QUANTILES), dim=0)
    z = loc[:1].repeat(len(order) * steps, 1)
    for row, feature in enumerate(order):
        z[row * steps : (row + 1) * steps, feature] = torch.linspace(
            float(low[feature]), float(high[feature]), steps, device=z.device, dtype=z.dtype
        )
    return Walk(z, names, steps, "one feature, from its 1 % to its 99 % quantile", total)


def _of_sequences(loc: Tensor, steps: int) -> Walk:
    r"""Rows in which one real feature of a sequence has one value at all times."""
    order = loc.var((0, 1)).argsort(descending=True)[:FEATURES].tolist()
    names = [f"z{i + 1}" for i in order]
    walk = _lines(loc.flatten(0, 1), order, names, steps, loc.shape[2])
    z = loc[:1].repeat(len(walk.z), 1, 1)
    for row, feature in enumerate(order):
        some = slice(row * steps, (row + 1) * steps)
        z[some, :, feature] = walk.z[some, feature, None]
    what = "one feature, at all steps, from its 1 % to its 99 % quantile"
    return walk._replace(z=z, what=what)


def _of_sites(locs: dict[str, Tensor], supports: dict[str, Any], steps: int) -> Walk:
    r"""Walks along the real features of several sites."""
    starts, real, names = [], [], []
    for site, loc in locs.items():
        flat, what = loc.flatten(1), describe_support(supports[site])
        if what == "one-hot blocks":
            size = int(getattr(supports[site], "num_categories", flat.shape[1]))
            codes = flat.view(len(flat), -1, size).argmax(-1)
            flat = one_hot(codes, size).to(loc.dtype).flatten(1)
        elif what == "{0, 1}":
            flat = (flat > 0.5).to(loc.dtype)
        starts.append(flat)
        real += [what == "the real numbers"] * flat.shape[1]
        names += [f"{site}.{i + 1}" for i in range(flat.shape[1])]
    loc = torch.cat(starts, 1)
    if not any(real):
        raise ValueError(
            f"Expected a real feature among the latent sites {', '.join(locs)}; got none to walk."
        )
    moving = torch.tensor(real, device=loc.device)
    activity = (loc.var(0) if len(loc) > 1 else torch.ones_like(loc[0])).masked_fill(~moving, -1)
    order = activity.argsort(descending=True)[: min(FEATURES, sum(real))].tolist()
    return _lines(loc, order, [names[i] for i in order], steps, sum(real))


def _categories(loc: Tensor, activity: Tensor, size: int) -> Walk:
    blocks = loc.shape[1] // size
    start = one_hot(loc[0].view(blocks, size).argmax(-1), size).to(loc.dtype)
    order = activity.view(blocks, size).sum(-1).argsort(descending=True)[:FEATURES].tolist()
    shown = min(size, CATEGORIES)
    z = start.repeat(len(order) * shown, 1, 1)
    for row, block in enumerate(order):
        for category in range(shown):
            z[row * shown + category, block] = 0.0
            z[row * shown + category, block, category] = 1.0
    names = [f"block {block + 1}" for block in order]
    what = "one block takes each category" + (f" to {shown}" if shown < size else "")
    return Walk(z.flatten(1), names, shown, what, blocks)


def _circles(loc: Tensor, activity: Tensor, steps: int) -> Walk:
    start = normalize(loc[0], dim=0)
    order = activity.argsort(descending=True).tolist()
    rows, names = [], []
    angles = torch.linspace(-pi, pi, steps, device=loc.device, dtype=loc.dtype)[:, None]
    for feature in order[:FEATURES]:
        axis = torch.zeros_like(start)
        axis[feature] = 1.0
        axis = axis - (axis @ start) * start
        if float(axis.norm()) < 1e-3:
            continue
        axis = normalize(axis, dim=0)
        rows.append(angles.cos() * start + angles.sin() * axis)
        names.append(f"z{feature + 1}")
    what = "a great circle, towards one axis and around the sphere"
    return Walk(torch.cat(rows), names, steps, what, loc.shape[1])
