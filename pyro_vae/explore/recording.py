r"""The model itself for a page: recorded operations, or points decoded beforehand."""

from collections.abc import Mapping, Sequence
from functools import cache
from math import isqrt, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data import Split
from ..programs import wants_rows
from ..views import decode
from . import facts
from .graph import Graph, record
from .packing import Arrays, packed_graph
from .programs import Function, Values, below, decoder, looker, means_alone

SIDE = 24  # points of a side of the grid, at most
NUMBERS = 2_000_000  # of all means on a grid, at most
LONGEST = 40  # steps of a sequence, each of which is recorded, that a page encodes
CHECKED = 4  # points at which a recording is compared with the model
TOLERANCE = 3e-4  # of the range of x, by which half precision may change a mean
NATS = 0.02  # by which it may change a log density


@cache
def known_operations() -> frozenset[str]:
    r"""The operations that a page can run."""
    text = (Path(__file__).parent / "operations.txt").read_text(encoding="utf-8")
    return frozenset(text.split())


def recorded(
    vae: Any,
    split: Split,
    places: Mapping[str, facts.Place],
    arrays: Arrays,
    grid: bool,
    most: int,
) -> dict[str, Any]:
    r"""Returns the graphs of a model, or, where a page cannot run it, means on a grid.

    Arguments:
        vae: The model.
        split: The data.
        places: Where they lie.
        arrays: Where the constants go.
        grid: Whether the grid is wanted.
        most: How many characters the page may have.
    """
    graphs: dict[str, Graph] = {}
    drawn: dict[str, list[str]] = {}
    reason, unseen = "as --grid asks for" if grid else "", ""
    if not grid:
        try:
            drawn = _record_decoders(vae, split, places, graphs)
        except Exception as error:  # whatever somebody's own module does
            reason = f"as the page cannot run its networks ({_first_line(error)})"
        else:
            unseen = _record_look(vae, split, graphs)
    half = not reason and _half_is_enough(graphs, vae, split, places)
    packed = {}
    if not reason:
        before = len(arrays.packed)
        packed = {name: packed_graph(graph, arrays, half) for name, graph in graphs.items()}
        if arrays.size > most:
            reason = f"as the page would have {arrays.size / 1e6:.0f} MB"
            packed, drawn = {}, {}
            arrays.forget(before)
    return {
        "graphs": packed,
        "drawn": drawn,
        "half": half,
        "grid": _grid(vae, split, places, arrays) if reason else None,
        "reason": reason,
        "unseen": unseen,
    }


def _record_decoders(
    vae: Any, split: Split, places: Mapping[str, facts.Place], graphs: dict[str, Graph]
) -> dict[str, list[str]]:
    r"""Records a decoder for each set of latent sites that are drawn given the others."""
    rows = [example(vae, split, places, row) for row in split.spread(CHECKED).tolist()]
    inputs = rows[0]
    known = {name: value for name, value in inputs.items() if name not in places}
    drawn = {name: below(vae, name, known) for name in places}
    for others in {(), *drawn.values()}:
        name = " ".join(("decode", *others))
        some = [{n: v for n, v in values.items() if n not in others} for values in rows]
        function = decoder(vae, others)
        try:
            graphs[name] = _recorded(function, some[0], some)
        except Exception:  # values decide how it draws; its mean may not ask
            graphs[name] = _recorded(means_alone(function), some[0], some)
    return {name: [*others] for name, others in drawn.items()}


def _record_look(vae: Any, split: Split, graphs: dict[str, Graph]) -> str:
    r"""Records the encoder with the terms of the bound; or says why the page has none."""
    if wants_rows(vae):
        return "The posterior has parameters for the rows that it was trained on, and no others."
    if getattr(vae.prior, "sequential", False) and split.x_shape[0] > LONGEST:
        return (
            f"This page places no sequences of more than {LONGEST} steps: pv.encode(vae, x) does."
        )
    rows = [data_at(vae, split, row) for row in split.spread(CHECKED).tolist()]
    try:
        graphs["look"] = _recorded(looker(vae), rows[0], rows)
    except Exception:  # the page goes without
        return "This page cannot run the encoder of this model: pv.encode(vae, x) does."
    return ""


def _recorded(
    function: Function, inputs: Values, others: Sequence[Values], tolerance: float = 1e-3
) -> Graph:
    r"""Records a function, and compares the recording with it at some inputs.

    Raises:
        ValueError: The page lacks an operation, or what is recorded depends on the inputs.
    """
    graph = record(function, inputs)
    if strange := graph.names() - known_operations():
        raise ValueError(f"operations that it lacks: {', '.join(sorted(strange))}")
    for values in others:
        torch.manual_seed(0)
        here = graph.run(values)
        torch.manual_seed(0)
        there = function(values)
        for name in here:
            if not torch.allclose(here[name], there[name], tolerance, tolerance, equal_nan=True):
                raise ValueError("what it does depends on the values that it is given")
    return graph


def data_at(vae: Any, split: Split, row: int) -> Values:
    r"""One datum with its conditions."""
    x, more = split.batch(slice(row, row + 1))
    return {"x": x, **{n: v for n, v in more.items() if n in vae.conditions}}


def example(
    vae: Any, split: Split, places: Mapping[str, facts.Place], row: int = 0
) -> dict[str, Tensor]:
    r"""Latent variables and conditions of one datum."""
    z = {}
    for name, place in places.items():
        value = place.prior[row % len(place.prior) : row % len(place.prior) + 1]
        z[name] = value.reshape(1, *place.shape)
    known = split.known_at(slice(row, row + 1))
    return {**z, **{n: known[n] for n in vae.drawn_under}}


def _half_is_enough(
    graphs: Mapping[str, Graph], vae: Any, split: Split, places: Mapping[str, facts.Place]
) -> bool:
    r"""Whether constants in half precision change no mean and no density by much."""
    rows = split.spread(CHECKED).tolist()
    x = split.rows(slice(0, 1000)).double()
    finite = x[x.isfinite()]
    unit = max(1e-12, float(finite.max() - finite.min()))
    decode = graphs["decode"]
    other = decode.halved()
    for row in rows:
        inputs = example(vae, split, places, row)
        change = decode.run(inputs)["mean"] - other.run(inputs)["mean"]
        if not float(change.abs().max()) <= TOLERANCE * unit:
            return False
    if (look := graphs.get("look")) is None:
        return True
    for row in rows:
        inputs, pair = data_at(vae, split, row), []
        for graph in (look, look.halved()):
            torch.manual_seed(row)
            pair.append(graph.run(inputs))
        for name in (n for n in pair[0] if n[:2] in ("p.", "q.")):
            if not float((pair[0][name] - pair[1][name]).abs().max()) <= NATS:
                return False
    return True


def _grid(
    vae: Any, split: Split, places: Mapping[str, facts.Place], arrays: Arrays
) -> dict[str, Any]:
    r"""Means on a grid in the plane of each latent site, the others staying at their means."""
    known = {n: v for n, v in split.known_at(slice(0, 1)).items() if n in vae.drawn_under}
    middle = {name: place.loc.mean(0) for name, place in places.items()}
    side = max(2, min(SIDE, isqrt(NUMBERS // (len(places) * prod(split.x_shape)))))
    found = {}
    for name, place in places.items():
        centre, directions, _ = facts.axes(place.loc)
        along = (place.loc - centre) @ directions.T
        ends = torch.quantile(along, torch.tensor([0.005, 0.995]).to(along), dim=0)
        middles, half = ends.mean(0), 0.6 * (ends[1] - ends[0]).clamp(min=1e-3)
        steps = torch.linspace(-1, 1, side).to(along)
        rows = torch.cartesian_prod(steps, steps) * half + middles
        z = centre + rows @ directions
        joined = [
            (z if n == name else middle[n].expand(len(z), -1)).reshape(len(z), -1) for n in places
        ]
        sequence = len(place.shape) > 1 and len(places) == 1
        values = z.reshape(len(z), *place.shape) if sequence else torch.cat(joined, 1)
        x = decode(vae, values, **known)
        found[name] = {
            "middle": middles.tolist(),
            "half": half.tolist(),
            "side": side,
            "means": arrays.add(x, np.float16),
        }
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:120].rstrip(".") or type(error).__name__
