r"""Pictures of data and of what the model says data look like."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..counted import counted
from ..data import Split
from ..evaluate import reconstruct, sample
from .canvas import (
    Table,
    add_bar,
    as_pictures,
    in_row,
    is_image,
    name_columns,
    new_figure,
    scale_of,
    short,
    show_dates,
    show_images,
    show_table,
    table_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 12
DRAWS = 1000
CURVES = 6
KINDS: tuple[Literal["mean"], Literal["sample"]] = ("mean", "sample")


@counted
def plot_samples(
    vae: Any, num_samples: int = 64, *, seed: int = 0, split: Split | None = None, **known: Any
) -> "Figure":
    r"""Draws :math:`z \sim p(z)`, then shows means and samples of :math:`p(x \mid z)`.

    Of a table, the distribution of each column is shown: that of samples beside that of the data.
    Of vectors whose elements see those before them, such as sound, a few are shown as curves.

    Arguments:
        vae: The VAE.
        num_samples: How many images, of long sequences fewer; of a table, at least 1000 rows.
        seed: Seeds the draws.
        split: The data, whose scale and columns the picture then has; and, where samples have
            conditions, these.
        known: Conditions and values of latent sites, as in :func:`pyro_vae.sample`.
    """
    if _goes_on(vae) and not (split and split.columns):
        num_samples = min(num_samples, CURVES)
        given = _given(vae, split, num_samples, known)
        return _curves(*(sample(vae, num_samples, w, seed=seed, **given) for w in KINDS))
    given = _given(vae, split, num_samples, known)
    x = sample(vae, num_samples, "mean", seed=seed, **given)
    columns = in_row(x.shape[1:], 8)
    shown = num_samples if columns == 8 else 4 * columns  # of long sequences
    means = as_pictures(x, split, given)[:shown]
    if means.dim() == 2:
        count = num_samples if _goes_on(vae) else max(DRAWS, num_samples)
        given = _given(vae, split, count, known, num_samples)
        draws = sample(vae, count, "sample", seed=seed, **given)
        return _marginals(draws, split)
    draws = sample(vae, num_samples, "sample", seed=seed, **given)
    draws = as_pictures(draws, split, given)[:shown]
    figure, axes = new_figure(1, 2, (10, 5.4))
    parts = [
        (means, "means E[x | z], z from the prior"),
        (draws, "samples x from p(x | z), same z"),
    ]
    seen = means if split is None or split.picture is not None else _some(split)
    show_parts(figure, axes, parts, as_pictures(seen, None, {}), split, columns)
    return figure


def plot_reconstructions(
    vae: Any,
    split: Split,
    count: int = 10,
    *,
    given: Mapping[str, Any] | None = None,
    seed: int = 0,
    **known: Any,
) -> "Figure":
    r"""Shows data, the mean of :math:`p(x \mid z)` at :math:`z \sim q(z \mid x)`, and a sample.

    Arguments:
        vae: The VAE.
        split: The data.
        count: How many of them; fewer of long sequences, whose padding is blue.
        given: Conditions, or values of latent sites, that take the place of those of the data
            once z is drawn, as in :func:`pyro_vae.reconstruct`: the sample is that of the same z
            under these, shown by its mean.
        seed: Seeds the draws.
        known: Further inputs of the programs that the split does not hold.
    """
    count = in_row(split.x_shape, count)
    seen = split.knowing(**known).freeze(seed).take(split.spread(count))
    x, rows = seen.batch(slice(None))
    parts = [
        (x, rows, "data x"),
        (reconstruct(vae, seen, "mean", seed=seed), rows, "means E[x | z], z from q(z | x)"),
    ]
    if given:
        other = reconstruct(vae, seen, "mean", given=given, seed=seed)
        title = f"means of the same z, but given another {' and '.join(given)}"
        parts.append((other, {**rows, **given}, title))
    else:
        draws = reconstruct(vae, seen, "sample", seed=seed)
        parts.append((draws, rows, "samples x from p(x | z), same z"))
    shown = [(as_pictures(values, seen, at), title) for values, at, title in parts]
    figure, axes = new_figure(3, 1, (10, 4.2 if is_image(shown[0][0]) else 6.4))
    show_parts(figure, axes, shown, shown[0][0], split, count)
    return figure


def plot_correlations(vae: Any, split: Split, *, seed: int = 0) -> "Figure":
    r"""Shows the correlations between the columns of a table, of data and of samples."""
    if len(split.x_shape) != 1:
        raise ValueError(
            f"Expected a table, whose columns correlate; got x of shape {split.x_shape}. Take "
            "plot_samples."
        )
    table = table_of(split, split.rows(slice(0, 1)))
    count = max(DRAWS, len(split))
    draws = sample(vae, count, "sample", seed=seed, **_given(vae, split, count, {}))
    size = min(9.0, 2.5 + 0.3 * len(table.columns))
    figure, axes = new_figure(1, 2, (2 * size, size))
    for axis, x, title in zip(axes, (split.rows(slice(None)), draws), ("data", "samples")):
        shown = axis.imshow(_correlations(x).numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        name_columns(axis, table.columns, vertical=True)
        axis.set_title(f"{title}, {len(x)} rows", fontsize=10)
    figure.colorbar(shown, ax=axes, label="correlation", shrink=0.7)
    return figure


def _correlations(x: Tensor) -> Tensor:
    r"""Pearson's correlations over rows where both columns are there; 0 of constant columns."""
    x = x.double().cpu()
    there = (~x.isnan()).double()
    filled = x.nan_to_num(nan=0.0)
    count = (there.T @ there).clamp(min=1)
    mean = filled.T @ there / count  # of column i where j is there, too
    second = filled.square().T @ there / count
    spread = (second - mean.square()).clamp(min=0).sqrt()
    covariance = filled.T @ filled / count - mean * mean.T
    return (covariance / (spread * spread.T)).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


def _given(
    vae: Any, split: Split | None, count: int, known: dict[str, Any], most: int = 0
) -> dict[str, Any]:
    r"""Conditions for this many samples: the given ones, one row for each of `most` in turn, else
    those of the data in turn."""
    turn = {n: v[torch.arange(count) % len(v)] for n, v in known.items() if _has_rows(v, most)}
    known = {**known, **turn}
    missing = [name for name in getattr(vae, "conditions", ()) if name not in known]
    if not missing or split is None:
        return known
    rows = split.known_at(torch.arange(count) % len(split))
    return {**known, **{name: rows[name] for name in missing if name in rows}}


def _has_rows(value: Any, count: int) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0 and len(value) == count > 1


def _some(split: Split) -> Tensor:
    return split.freeze(0).rows(split.spread(1000))


def show_parts(
    figure: "Figure",
    axes: list["Axes"],
    parts: list[tuple[Tensor, str]],
    x: Tensor,
    split: Split | None,
    columns: int,
) -> None:
    r"""Shows data and what the model makes of them, all on the scale of the data `x`."""
    if is_image(x):
        scale = scale_of(x, split)
        for axis, (pictures, title) in zip(axes, parts):
            shown = show_images(axis, pictures, scale, title, columns)
        add_bar(figure, shown, axes, scale, x.shape[1] == 1)
        return
    known = split if split is not None and len(split.x_shape) == 1 else None
    table = table_of(known, x.flatten(1))
    for axis, (rows, title) in zip(axes, parts):
        shown = show_table(axis, rows, table, title)
    figure.colorbar(shown, ax=axes, label="standard deviations from the mean")


def _goes_on(vae: Any) -> bool:
    r"""Whether data are vectors whose elements see those before them: a pass for each."""
    p = getattr(vae, "likelihood", None)
    return not getattr(p, "independent", True) and getattr(p, "event_dim", 0) == 1


def _curves(means: Tensor, draws: Tensor) -> "Figure":
    r"""Vectors as curves over the numbers of their elements: paths of means beside draws."""
    figure, axes = new_figure(len(means), 2, (10, 0.6 + 1.2 * len(means)))
    for axis, curve in zip(axes, torch.stack([means, draws], 1).flatten(0, 1)):
        axis.plot(curve.cpu().numpy(), linewidth=0.7)
        axis.tick_params(labelsize=7)
    for axis, title in zip(axes, ("the path of means, z from the prior", "draws, same z")):
        axis.set_title(title, fontsize=9)
    return figure


def _marginals(draws: Tensor, split: Split | None) -> "Figure":
    r"""The distribution of each column, of data and of samples."""
    draws = draws.detach().double().cpu()
    data = None if split is None else split.freeze(0).rows(slice(None)).double().cpu()
    table = table_of(split, draws)
    count = min(PANELS, draws.shape[1])
    rows = -(-count // 4)
    figure, axes = new_figure(rows, min(4, count), (10, 0.6 + 2.1 * rows))
    for j, axis in enumerate(axes):
        if j >= count:
            axis.set_axis_off()
            continue
        _marginal(axis, draws[:, j], None if data is None else data[:, j], table, j)
    axes[0].legend(fontsize=7, frameon=False)
    if draws.shape[1] > count:
        figure.suptitle(f"the first {count} of {draws.shape[1]} columns", fontsize=9)
    return figure


def _marginal(axis: "Axes", draws: Tensor, data: Tensor | None, table: Table, j: int) -> None:
    column = table.columns[j]
    parts = [("samples", draws, "tab:orange")]
    if data is not None:
        parts.insert(0, ("data", data[~data.isnan()], "tab:blue"))
    first = parts[0][1]
    whole = all(bool((values == values.round()).all()) for _, values, _ in parts if len(values))
    if len(first) == 0:
        edges = np.linspace(0, 1, 2)
    elif whole and float(first.max() - first.min()) < 30:
        low, high = (float(f(values)) for f, values in ((torch.min, first), (torch.max, first)))
        edges = np.arange(low - 0.5, high + 1.5)
    else:
        low = min(float(first.min()), float(torch.quantile(draws, 0.005)))
        high = max(float(first.max()), float(torch.quantile(draws, 0.995)))
        edges = np.linspace(low, high if high > low else low + 1.0, 25)
    for name, values, colour in parts:
        inside = values.clamp(float(edges[0]), float(edges[-1])).numpy()  # the rest at the ends
        weights = np.full(len(inside), 1 / max(1, len(inside)))
        axis.hist(inside, edges.tolist(), weights=weights, color=colour, alpha=0.5, label=name)
    axis.set_title(short(column.name, 28), fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_yticks([])
    if column.dates:
        show_dates(axis)
    if column.categories and len(column.categories) <= 8:
        names = [short(name, 8) for name in column.categories]
        axis.set_xticks(range(len(names)), names)
