r"""What all plots share: a figure without a window, one scale, images as a grid, tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ..data import Column, Split
from ..data.vision import torchvision
from ..writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNKNOWN = "lightsteelblue"
MANY_NAMES = 40  # columns whose names can still be read
WIDEST = 500  # pixels of a row of pictures


class Scale(NamedTuple):
    r"""The values that are black and white in all parts of a figure."""

    low: float
    high: float

    @property
    def is_unit(self) -> bool:
        return (self.low, self.high) == (0.0, 1.0)


class Table(NamedTuple):
    r"""How columns of a table are shown: in standard deviations of the data from their mean."""

    columns: tuple[Column, ...]
    mean: Tensor
    spread: Tensor

    def standardize(self, x: Tensor) -> Tensor:
        return (x.double().cpu() - self.mean) / self.spread


def new_figure(
    rows: int, columns: int, size: tuple[float, float]
) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # no pyplot: no global state, no window

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def save(figure: "Figure", path: Path, title: str = "", dpi: int = 150) -> None:
    r"""Writes a picture, which is whole under its name."""
    if title:
        figure.suptitle("\n".join(filter(None, (title, figure.get_suptitle()))), fontsize=8)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=dpi)


def is_image(x: Tensor) -> bool:
    r"""Whether data are images, of shape `(B, C, H, W)` with one or three channels."""
    return x.dim() == 4 and x.shape[1] in (1, 3)


def as_pictures(x: Tensor, split: Split | None, known: Mapping[str, Any]) -> Tensor:
    r"""Data as pictures: with what is given of them, where both are parts of one image; sequences
    with time to the right and elements upwards; else the data."""
    if x.dim() == 3:
        return x.transpose(1, 2).flip(1)[:, None]
    if split is None or split.picture is None:
        return x
    return split.picture.whole(x, known, split.scale)


def in_row(x_shape: Sequence[int], most: int) -> int:
    r"""How many data of a shape stand in a row: `most`, or fewer if they are long sequences."""
    return max(1, min(most, WIDEST // x_shape[0])) if len(x_shape) == 2 else most


def scale_of(x: Tensor, split: Split | None) -> Scale:
    r"""The scale of data: [0, 1] where they lie there, 0..n for levels, else their extremes."""
    if split is not None and split.levels and split.binarize == "no" and split.range == "levels":
        return Scale(0.0, float(split.levels))
    finite = x[x.isfinite()].double()
    low, high = float(finite.min()), float(finite.max())
    if low >= 0 and high <= 1:
        return Scale(0.0, 1.0)
    if low >= 0 and split is None and bool((finite == finite.round()).all()):
        return Scale(0.0, high)
    return Scale(low, high if high > low else low + 1.0)


def table_of(split: Split | None, x: Tensor) -> Table:
    r"""The columns of a table, with mean and standard deviation of the data."""
    values = (x if split is None else split.freeze(0).rows(slice(None))).double().cpu()
    there = ~values.isnan()
    count = there.sum(0).clamp(min=1)
    mean = values.nansum(0) / count
    spread = ((values - mean).square().nansum(0) / count).sqrt()
    columns = () if split is None else split.columns
    if not columns:
        columns = tuple(Column(str(j)) for j in range(values.shape[1]))
    return Table(columns, mean, torch.where(spread > 0, spread, 1.0))


def show_images(axis: "Axes", x: Tensor, scale: Scale, title: str, columns: int = 8) -> Any:
    r"""Shows images as a grid, on a scale that other parts of the figure share; NaN is blue."""
    import matplotlib

    x = (x.detach().double().cpu() - scale.low) / (scale.high - scale.low)
    grid = (
        torchvision()
        .utils.make_grid(x.clamp(0, 1).float(), nrow=columns, padding=1, pad_value=0.5)
        .permute(1, 2, 0)
    )
    if x.shape[1] == 1:  # as numbers, so that there can be a colour bar
        values = grid[..., 0] * (scale.high - scale.low) + scale.low
        cmap = matplotlib.colormaps["gray"].with_extremes(bad=UNKNOWN)
        shown = axis.imshow(
            values.numpy(), cmap=cmap, vmin=scale.low, vmax=scale.high, interpolation="nearest"
        )
    else:
        shown = axis.imshow(grid.nan_to_num(nan=0.5).numpy(), interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(title, fontsize=10)
    return shown


def add_bar(figure: "Figure", shown: Any, axes: list["Axes"], scale: Scale, grey: bool) -> None:
    r"""Adds a colour bar where grey is not from 0 to 1."""
    if grey and not scale.is_unit:
        figure.colorbar(shown, ax=axes, label="x", shrink=0.6)


def show_table(axis: "Axes", x: Tensor, table: Table, title: str, rows: str = "datum") -> Any:
    r"""Shows rows of a table in standard deviations from the mean; holes are grey."""
    import matplotlib
    import matplotlib.ticker

    cmap = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.75")
    standardized = table.standardize(x.detach().flatten(1)).numpy()
    shown = axis.imshow(
        standardized, aspect="auto", interpolation="nearest", cmap=cmap, vmin=-3, vmax=3
    )
    name_columns(axis, table.columns)
    axis.set(ylabel=rows)
    axis.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axis.set_title(title, fontsize=10)
    return shown


def name_columns(axis: "Axes", columns: tuple[Column, ...], vertical: bool = False) -> None:
    r"""Writes the names of columns at an axis, as long as they can be read."""
    if len(columns) > MANY_NAMES:
        axis.set_xlabel("column")
        return
    names = [short(column.name) for column in columns]
    axis.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0, fontsize=7)
    if vertical:
        axis.set_yticks(range(len(names)), names, fontsize=7)


def short(name: str, room: int = 18) -> str:
    return name if len(name) <= room else f"{name[: room - 1]}…"


def show_dates(axis: "Axes") -> None:
    r"""Writes days since 1970-01-01 along an axis as dates."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=2, maxticks=5)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def name_rows(axis: "Axes", names: list[str], height: float, middle: float) -> None:
    r"""Writes the names of rows, each of some height, beside a grid."""
    if not axis.axison:  # a grid of images, which has no use for the other axis
        axis.set_axis_on()
        axis.set_xticks([])
    for side in axis.spines.values():
        side.set_visible(False)
    axis.set_yticks([middle + row * height for row in range(len(names))], names, fontsize=7)
    axis.tick_params(axis="y", length=0)
