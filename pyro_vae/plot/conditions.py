r"""Pictures of draws side by side: under each class, of each datum's region, of held layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..counted import counted
from ..data import Split, elements_of, only
from ..views import reconstruct, sample_held, sample_under
from .canvas import (
    add_bar,
    as_pictures,
    is_image,
    name_rows,
    new_figure,
    scale_of,
    show_images,
    show_table,
    table_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@counted
def plot_classes(
    vae: Any,
    name: str,
    classes: Sequence[str],
    num_draws: int = 8,
    *,
    seed: int = 0,
    split: Split | None = None,
    **known: Any,
) -> "Figure":
    r"""Shows means of :math:`p(x \mid z, c)`: a row for each class, a column for each :math:`z`.

    Arguments:
        vae: A VAE with a condition, or a latent site, of one-hot rows.
        name: What it is called.
        classes: The names of the classes.
        num_draws: How many columns there are.
        seed: Seeds the draws of z.
        split: The data, whose scale and columns the picture then has.
        known: Other conditions, one value for all.
    """
    rows = {name: torch.eye(len(classes))}
    x = sample_under(vae, rows, num_draws, seed=seed, **known)
    title = f"means E[x | z, {name}]; z is the same in each column, {name} in each row"
    pictures = as_pictures(x.flatten(0, 1), None, {}).unflatten(0, x.shape[:2])
    return show_grid(pictures, [*classes], title, split)


@counted
def plot_completions(
    vae: Any,
    split: Split,
    count: int = 8,
    num_draws: int = 8,
    *,
    given: str | Sequence[str | int] | Tensor | None = None,
    seed: int = 0,
) -> "Figure":
    r"""Shows what is given of some data, the data, and means of :math:`p(x \mid z, c)` at several
    draws of :math:`z`.

    Arguments:
        vae: A VAE with conditions, or one of data with holes.
        split: The data, with regions of their images as conditions.
        count: How many of them.
        num_draws: How many draws there are of each.
        given: Without conditions, the part of x that is given, as
            :func:`pyro_vae.evaluate.log_conditional` takes it: z is drawn from q(z | given).
        seed: Seeds the draws of z.

    Raises:
        ValueError: The conditions are not parts of images, and no part of x is given.
    """
    if given is not None:
        return _plot_rest(vae, split, given, count, num_draws, seed)
    if split.picture is None:
        raise ValueError(
            "Expected data with regions of an image as conditions, such as data.known = "
            '{ c = "left" }; got others. Take plot_samples, or given="left" for a model of data '
            "with holes."
        )
    seen = split.freeze(seed).take(split.spread(count))
    x, known = seen.batch(slice(None))
    names = [name for name in vae.conditions if name in known]
    draws = sample_under(vae, {name: known[name] for name in names}, num_draws, seed=seed)
    again = {n: known[n].repeat_interleave(num_draws, 0) for n in names}
    drawn = as_pictures(draws.flatten(0, 1), seen, again).unflatten(0, draws.shape[:2])
    whole = as_pictures(x, seen, known)[:, None]
    given = as_pictures(torch.full_like(x, torch.nan), seen, known)[:, None]
    rows = [f"row {int(number)}" for number in seen.row_numbers]
    title = (
        f"given {' and '.join(names)}; the data; {num_draws} means E[x | z, c], z from p(z | c)"
    )
    return show_grid(torch.cat([given, whole, drawn.to(x)], 1), rows, title, split)


def _plot_rest(
    vae: Any, split: Split, given: Any, count: int, num_draws: int, seed: int
) -> "Figure":
    r"""Shows parts of data, the data, and means of all of x at draws of z given the parts."""
    seen = split.freeze(seed).take(split.spread(count))
    part = only(seen, elements_of(seen, given))
    rows = torch.arange(len(part)).repeat_interleave(num_draws)
    draws = reconstruct(vae, part.take(rows), seed=seed)
    x = [part.rows(slice(None)), seen.rows(slice(None)), draws]
    first, whole, drawn = (as_pictures(part.to(x[0]), seen, {}) for part in x)
    grid = [first[:, None], whole[:, None], drawn.unflatten(0, (len(part), num_draws))]
    names = [f"row {int(number)}" for number in seen.row_numbers]
    title = f"what is given; the data; {num_draws} means E[x | z], z from q(z | given)"
    return show_grid(torch.cat(grid, 1), names, title, split)


@counted
def plot_held(
    vae: Any,
    sites: Sequence[str],
    num_rows: int = 8,
    num_draws: int = 8,
    *,
    seed: int = 0,
    split: Split | None = None,
    **known: Any,
) -> "Figure":
    r"""Shows means of :math:`p(x \mid z)` in two grids: in each row of the first some latent sites
    are held and the others are drawn, in the second it is the other way round.

    Arguments:
        vae: A VAE with several latent sites.
        sites: The names of those that are held in the first grid.
        num_rows: How many values they take.
        num_draws: How many draws there are for each.
        seed: Seeds the draws.
        split: The data, whose scale and columns the picture then has.
        known: Conditions, one value for all.
    """
    held = [name for name in vae.latents if name in sites]
    others = [name for name in vae.latents if name not in sites]
    first = sample_held(vae, [*sites], num_rows, num_draws, seed=seed, **known)  # checks sites
    if not others:
        raise ValueError(
            f"Expected some of the latent sites {', '.join(vae.latents)}; got all, so that there "
            "is none to draw."
        )
    second = sample_held(vae, others, num_rows, num_draws, seed=seed, **known)
    figure, axes = new_figure(1, 2, (11, 6.8))
    for axis, x, kept, free in zip(axes, (first.x, second.x), (held, others), (others, held)):
        title = f"in each row held: {', '.join(kept)}\ndrawn: {', '.join(free)}"
        pictures = as_pictures(x.flatten(0, 1), split, known)
        _show(figure, axis, pictures.unflatten(0, x.shape[:2]), title, split)
    return figure


def class_condition(vae: Any, split: Split) -> str | None:
    r"""The name of a model's only condition, if its rows are one-hot."""
    names = [name for name in getattr(vae, "drawn_under", ()) if name in split.known]
    if len(names) != 1 or len(names) < len(vae.drawn_under):
        return None
    rows = split.known[names[0]]
    one_hot = rows.dim() == 2 and rows.shape[1] > 1 and bool(((rows == 0) | (rows == 1)).all())
    return names[0] if one_hot and bool((rows.sum(1) == 1).all()) else None


def show_grid(x: Tensor, names: list[str], title: str, split: Split | None) -> "Figure":
    size = (0.9 * x.shape[1] + 1, 0.9 * len(x) + 0.6) if is_image(x[0]) else (9, 9)
    figure, (axis,) = new_figure(1, 1, size)
    _show(figure, axis, x, title, split)
    height = x.shape[-2] + 1 if is_image(x[0]) else x.shape[1]
    name_rows(axis, names, height, 0.5 * (height - 1))
    return figure


def _show(figure: "Figure", axis: "Axes", x: Tensor, title: str, split: Split | None) -> None:
    flat = x.flatten(0, 1)
    if is_image(flat):
        data = flat if split is None else split.freeze(0).rows(split.spread(1000))
        scale = scale_of(data, split)
        shown = show_images(axis, flat, scale, title, x.shape[1])
        add_bar(figure, shown, [axis], scale, flat.shape[1] == 1)
        return
    known = split if split is not None and len(split.x_shape) == 1 else None
    table = table_of(known, flat.flatten(1))
    shown = show_table(axis, flat, table, title, rows="draw")
    figure.colorbar(shown, ax=[axis], label="standard deviations from the mean")
