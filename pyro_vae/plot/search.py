r"""A search as a picture: validation ELBO over trials, and over each setting."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from .canvas import new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3  # pictures in a row
FAR = 3.0  # times the distance from the best trial to the median one, below which is not shown


def plot_search(
    trials: Sequence[Mapping[str, Any]], search: Mapping[str, Any], path: Path
) -> None:
    r"""Draws the validation ELBO of trials and the best so far, and writes the picture.

    Arguments:
        trials: A row for each trial, in their order: `trial`, `values`, `valid_elbo` in nats per
            datum and `valid_elbo_se`, both None where it failed.
        search: The settings that are searched: a text for a range, else the choices.
        path: The file.
    """
    from matplotlib.ticker import MaxNLocator

    count = 1 + len(search)
    columns = min(count, COLUMNS)
    rows = ceil(count / columns)
    figure, axes = new_figure(rows, columns, (1 + 3.6 * columns, 3.4 * rows))
    for axis in axes[count:]:
        axis.set_axis_off()
    bounds = [row["valid_elbo"] for row in trials if row["valid_elbo"] is not None]
    floor = _floor(bounds)
    numbers = [row["trial"] for row in trials]
    _dots(axes[0], numbers, trials, floor)
    whole = [(row["trial"], row["valid_elbo"]) for row in trials if row["valid_elbo"] is not None]
    best = [max(value for n, value in whole if n <= number) for number, _ in whole]
    axes[0].step([n for n, _ in whole], best, where="post", color="C1", label="best so far")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_xlabel("trial")
    axes[0].legend(frameon=False, fontsize=8)
    for axis, (key, part) in zip(axes[1:], search.items()):
        values = [row["values"][key] for row in trials]
        if isinstance(part, str):
            _dots(axis, values, trials, floor)
            axis.set_xscale("log" if part.endswith(" log") else "linear")
        else:
            _dots(axis, [part.index(value) for value in values], trials, floor)
            axis.set_xticks(range(len(part)), [str(value) for value in part])
            axis.set_xlim(-0.5, len(part) - 0.5)
        axis.set_xlabel(key)
    for axis in axes[:count]:
        axis.grid(alpha=0.3)
    for axis in axes[:count:columns]:
        axis.set_ylabel("validation ELBO, nats per datum")
    figure.suptitle(
        "Mean +- standard error over seeds; a cross failed, a triangle lies below", fontsize=9
    )
    save(figure, path, dpi=120)


def _floor(bounds: Sequence[float]) -> float | None:
    r"""The lowest validation ELBO that is shown, as bad trials would flatten the others."""
    if len(bounds) < 2:
        return None
    best = max(bounds)
    return max(min(bounds), best - FAR * (best - median(bounds)))


def _dots(
    axis: "Axes", places: Sequence[Any], trials: Sequence[Mapping[str, Any]], floor: float | None
) -> None:
    r"""Draws a dot with its error for each trial."""
    low = axis.get_xaxis_transform()  # data across, the height of the axis upwards
    for place, row in zip(places, trials):
        value = row["valid_elbo"]
        if value is None:
            axis.plot([place], [0.02], "x", color="C3", transform=low, clip_on=False)
        elif floor is not None and value < floor:
            axis.plot([place], [0.02], "v", color="C0", transform=low, clip_on=False)
        else:
            error = row["valid_elbo_se"] or 0.0
            axis.errorbar(place, value, yerr=error, fmt="o", color="C0", markersize=4, capsize=3)
