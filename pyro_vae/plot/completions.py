r"""Pictures of completed data: images beside their holes, intervals of the cells of a table."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import Split
from ..views import Imputed
from .canvas import as_pictures, is_image, new_figure, short, show_dates, table_of
from .conditions import show_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..data import Column

PANELS = 12
CELLS = 20  # of each column


def plot_imputed(
    found: Imputed, split: Split, *, count: int = 8, num_draws: int = 5, seed: int = 0
) -> "Figure":
    r"""Shows completions of images beside what is there, their mean and the truth; of a table,
    the interval of each missing cell.

    Arguments:
        found: What :func:`pyro_vae.impute` returned for the data.
        split: The data. What it hides itself (``Split.holes``) is shown as the truth.
        count: How many images.
        num_draws: How many completions of each.
        seed: The seed of the bits of data that are binarized at every visit.
    """
    seen = split.freeze(seed)
    truth = seen.hiding(None)
    some = split.spread(count)
    if is_image(as_pictures(seen.rows(slice(0, 1)), seen, seen.known_at(slice(0, 1)))):
        draws = found.draws[:num_draws, some].transpose(0, 1)
        parts = [seen.rows(some)[:, None], truth.rows(some)[:, None]]
        x = torch.cat([*parts, found.mean[some][:, None].to(draws), draws], 1)
        again = {n: v.repeat_interleave(x.shape[1], 0) for n, v in seen.known_at(some).items()}
        pictures = as_pictures(x.flatten(0, 1), seen, again).unflatten(0, x.shape[:2])
        names = [f"row {int(number)}" for number in seen.row_numbers[some]]
        title = f"what is there; the data; the mean; {draws.shape[1]} completions"
        return show_grid(pictures, names, title, truth)
    holes = seen.rows(slice(None)).isnan().cpu()
    return _intervals(found.draws.cpu(), holes, truth)


def _intervals(draws: Tensor, holes: Tensor, truth: Split) -> "Figure":
    r"""A panel for each column with holes."""
    columns = table_of(
        truth if len(truth.x_shape) == 1 else None, holes.flatten(1).double()
    ).columns
    draws, holes = draws.flatten(2), holes.flatten(1)
    values, numbers = truth.rows(slice(None)).cpu().flatten(1), truth.row_numbers
    chosen = [j for j in range(len(columns)) if bool(holes[:, j].any())][:PANELS]
    rows = max(1, -(-len(chosen) // 3))
    figure, axes = new_figure(rows, max(1, min(3, len(chosen))), (10, 0.6 + 2.6 * rows))
    for axis, j in zip(axes, chosen):
        cells = holes[:, j].nonzero()[:, 0][:CELLS]
        names = [int(numbers[i]) for i in cells]
        _panel(axis, draws[:, cells, j], values[cells, j], columns[j], names)
    for axis in axes[len(chosen) :]:
        axis.set_axis_off()
    figure.suptitle(
        "missing cells: mean, 90 % interval, x the value where it is known", fontsize=9
    )
    return figure


def _panel(axis: "Axes", draws: Tensor, truth: Tensor, column: "Column", rows: list[int]) -> None:
    places = torch.arange(len(rows))
    if column.categories:
        codes = range(len(column.categories))
        share = torch.stack([(draws.round() == code).double().mean(0) for code in codes], 1)
        at, code = share.nonzero().T
        axis.scatter(code, at, s=60 * share[at, code], color="tab:orange")
        names = [short(name, 8) for name in column.categories]
        axis.set_xticks([*codes], names, rotation=90 if len(names) > 4 else 0)
    else:
        low, high = torch.quantile(draws.double(), torch.tensor([0.05, 0.95]).double(), dim=0)
        axis.hlines(places, low, high, color="tab:orange")
        axis.plot(draws.double().mean(0), places, "o", markersize=3, color="tab:orange")
        if column.dates:
            show_dates(axis)
    known = ~truth.isnan()
    axis.plot(truth[known], places[known], "x", markersize=5, color="tab:blue")
    axis.set_title(short(column.name, 28), fontsize=8)
    axis.set_yticks(places.tolist(), [str(row) for row in rows], fontsize=6)
    axis.set_ylabel("row", fontsize=7)
    axis.tick_params(axis="x", labelsize=7)
