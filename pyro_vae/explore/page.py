r"""One HTML file about a trained VAE, with all that it needs."""

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from pyro import poutine
from torch import Tensor

from ..checks import Data, opened
from ..counted import Size, counted
from ..data import Split
from ..distributions import describe_support
from ..programs import is_vae, sample_sites
from . import facts
from .drawing import columns_of, looks_of
from .packing import Arrays
from .recording import recorded

FOLDER = Path(__file__).parent
MOST = 20_000_000  # characters of a page


@counted
def explorer_page(
    vae: Any,
    x: Data,
    max_data: Size = 2000,
    *,
    title: str = "",
    run: str = "",
    grid: bool = False,
    seed: int = 0,
    **known: Any,
) -> str:
    r"""Returns a page on which the latent space of a VAE is explored, one HTML file.

    It needs no server and asks for nothing: weights and data are inside, and the page runs the
    recorded operations of the model itself. Where it cannot, points on a grid are decoded here.

    Arguments:
        vae: A VAE.
        x: The data, of shape `(B, *x_shape)`.
        max_data: How many data to show, spread evenly over `x`.
        title: What stands above the page.
        run: The folder of the run, for the snippets of Python that reproduce what is seen.
        grid: Whether to decode a grid here instead of taking the model along.
        seed: Seeds what is drawn here.
        known: Further inputs of the programs, one row per datum.

    Raises:
        ValueError: `vae` is no VAE.

    Example:
        >>> import torch, pyro_vae as pv
        >>> vae = pv.VAE(
        ...     pv.priors.StandardNormal(2),
        ...     pv.likelihoods.Bernoulli(pv.nn.MLP(2, [16], 5)),
        ...     pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 4)),
        ... )
        >>> page = explorer_page(vae, torch.randint(2, (40, 5)).float())
        >>> page[:15]
        '<!doctype html>'
    """
    if not is_vae(vae):
        raise ValueError(f"Expected a VAE, whose parts are explored; got {type(vae).__name__}.")
    with opened(vae, x, known, seed, freeze=True) as (vae, split):
        split = split.take(split.spread(max_data))
        content = contents(vae, split, seed, grid)
    content |= {"title": title, "run": run}
    return page_of(content, title)


def contents(vae: Any, split: Split, seed: int, grid: bool) -> dict[str, Any]:
    r"""What the page knows, as JSON."""
    arrays = Arrays()
    places = facts.places(vae, split, seed)
    found = facts.scores(vae, split)
    x, more = split.batch(slice(0, 1))
    conditions = {n: v for n, v in more.items() if n in vae.conditions}
    trace = poutine.trace(vae.model).get_trace(x, **conditions)
    laws = {n: s["fn"] for n, s in sample_sites(trace).items()}
    sites = [_site(name, place, laws[name], arrays) for name, place in places.items()]
    model = recorded(vae, split, places, arrays, grid, MOST)
    return {
        "sites": sites,
        "conditions": [
            _condition(name, split, arrays) for name in conditions if name in vae.drawn_under
        ],
        "x": looks_of(split, laws["x"], arrays),
        "columns": columns_of(split, laws["x"]),
        "labels": _labels(split, arrays),
        "rows": arrays.add(split.row_numbers),
        "scores": found and {n: arrays.add(v) for n, v in found._asdict().items()},
        "count": len(split),
        **model,
        "arrays": arrays.packed,
    }


def _site(name: str, place: facts.Place, law: Any, arrays: Arrays) -> dict[str, Any]:
    support = describe_support(law.support)
    centre, directions, shares = facts.axes(place.loc)
    return {
        "name": name,
        "shape": [*law.event_shape],
        "size": prod(law.event_shape),
        "support": support if support in KINDS else "the real numbers",
        "categories": int(getattr(law.support, "num_categories", 0)),
        "loc": arrays.add(place.loc),
        "scale": arrays.add(place.scale, np.float16),
        "activity": _numbers(place.activity),
        "rate": None if place.rate is None else _numbers(place.rate),
        "prior": arrays.add(place.prior, np.float16),
        "levels": _numbers(place.levels),
        "centre": arrays.add(centre),
        "directions": arrays.add(directions),
        "shares": shares,
    }


KINDS = ("the real numbers", "one-hot blocks", "{0, 1}", "the unit sphere")


def _numbers(values: Tensor) -> list[float]:
    return [round(v, 6) for v in values.flatten().tolist()]


def _condition(name: str, split: Split, arrays: Arrays) -> dict[str, Any]:
    values = split.known_at(slice(None))[name]
    flat = values.flatten(1)
    classes = flat.shape[1] > 1 and bool(((flat == 0) | (flat == 1)).all())
    classes = classes and bool((flat.sum(1) == 1).all())
    names = [*split.classes] if len(split.classes) == flat.shape[1] else []
    return {
        "name": name,
        "shape": [*values.shape[1:]],
        "size": flat.shape[1],
        "kind": "class" if classes else "numbers",
        "names": names or [str(i) for i in range(flat.shape[1])],
        "values": arrays.add(flat),
        "low": _numbers(flat.amin(0)),
        "high": _numbers(flat.amax(0)),
    }


def _labels(split: Split, arrays: Arrays) -> dict[str, Any] | None:
    if split.labels is None:
        return None
    labels = split.labels.cpu()
    real = labels.is_floating_point()
    count = 0 if real else int(labels.max()) + 1
    few = not real and count <= 30
    names = [*split.classes] or [str(i) for i in range(count if few else 0)]
    return {"values": arrays.add(labels), "kind": "class" if few else "number", "names": names}


def page_of(content: dict[str, Any], title: str) -> str:
    r"""The file: the committed bundle, its style, and the content."""
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    parts = {
        "title": _escaped(title or "Latent explorer"),
        "style": (FOLDER / "bundle.css").read_text(encoding="utf-8"),
        "script": (FOLDER / "bundle.js").read_text(encoding="utf-8"),
        "data": data,
    }
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part, 1)
    return text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
