r"""Pictures of the relatives of VAEs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..data import Split
from ..gallery import Lacking, Relative
from ..programs import undisturbed
from ..runs.records import read_metrics
from .canvas import as_pictures, in_row, new_figure
from .data import show_parts
from .latent import plot_codes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, CODES = 64, 1000
NO_CURVE = ("step", "epoch", "lr", "seconds", "score_se", "warning")


def plot_relative_samples(
    model: Relative, split: Split | None = None, num_samples: int = SHOWN, *, seed: int = 0
) -> "Figure":
    r"""Shows samples of a relative, beside data if there are some.

    Raises:
        Lacking: It has no sampler.
    """
    with undisturbed(model, seed):
        draws = model.sample(num_samples)
    parts = [(as_pictures(draws, split, {}), "samples")]
    if split is not None:
        data = split.freeze(seed).take(split.spread(num_samples)).rows(slice(None))
        parts.insert(0, (as_pictures(data, split, {}), "data x"))
    figure, axes = new_figure(1, len(parts), (5 * len(parts), 5.4))
    show_parts(figure, axes, parts, parts[0][0], split, in_row(model.x_shape, 8))
    return figure


def plot_relative_reconstructions(
    model: Relative, split: Split, count: int = 10, *, seed: int = 0
) -> "Figure":
    r"""Shows data and their reconstructions.

    Raises:
        Lacking: It makes none.
    """
    count = in_row(split.x_shape, count)
    x = split.freeze(seed).take(split.spread(count)).rows(slice(None))
    with undisturbed(model, seed):
        made = model.reconstruct(x)
    parts = [
        (as_pictures(x, split, {}), "data x"),
        (as_pictures(made, split, {}), "as its code has it"),
    ]
    figure, axes = new_figure(2, 1, (10, 3.0))
    show_parts(figure, axes, parts, parts[0][0], split, count)
    return figure


def plot_relative_codes(model: Relative, split: Split, *, seed: int = 0) -> "Figure":
    r"""Places codes in the plane.

    Raises:
        Lacking: It has no encoder.
    """
    seen = split.freeze(seed).take(split.spread(CODES))
    with undisturbed(model, seed):
        codes = model.encode(seen.rows(slice(None)))
    return plot_codes(codes.double().cpu(), seen, "codes")


def plot_relative_curves(metrics: Path) -> "Figure":
    r"""Shows what each epoch of training measured, each in its own axes."""
    rows = read_metrics(metrics)
    names = dict.fromkeys(name for row in rows for name in row if name not in NO_CURVE)
    figure, axes = new_figure(1, max(1, len(names)), (3.4 * max(1, len(names)), 3.2))
    for axis, name in zip(axes, names):
        seen = [(row["epoch"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*seen))
        axis.set(xlabel="epoch", title=name.replace("_", " "))
    return figure


def draw_relative(
    model: Relative, split: Split, metrics: Path | None = None
) -> "dict[str, Figure]":
    r"""Draws every picture of a relative that applies, by name."""
    draws: dict[str, Callable[[], Figure]] = {
        "samples": lambda: plot_relative_samples(model, split),
        "reconstructions": lambda: plot_relative_reconstructions(model, split),
        "codes": lambda: plot_relative_codes(model, split),
    }
    if metrics is not None and metrics.is_file():
        draws["curves"] = lambda: plot_relative_curves(metrics)
    figures = {}
    for name, draw in draws.items():
        try:
            figures[name] = draw()
        except Lacking:
            continue
    return figures
