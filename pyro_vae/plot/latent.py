r"""Plots of latent space: maps of data, and what its points decode to."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data import Split
from ..distributions import describe_support
from ..evaluate import decode, encode, encode_sites, rate_distortion
from ..programs import undisturbed
from .canvas import (
    add_bar,
    as_pictures,
    in_row,
    is_image,
    name_rows,
    new_figure,
    scale_of,
    show_images,
    show_table,
    table_of,
)
from .walks import QUANTILES, Walk, latent_laws, walk_from

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = 2000


def plot_manifold(
    vae: Any, side: int = 20, *, split: Split | None = None, **known: Any
) -> "Figure":
    r"""Decodes a square of a two-dimensional latent space, by quantiles of the prior's samples.

    Arguments:
        vae: A VAE with one latent site of two real features.
        side: How many points a side has.
        split: The data, whose scale the picture then has.
        known: Conditions, one value for all.

    Raises:
        ValueError: There are other latent variables.
    """
    given = {name: torch.as_tensor(value)[None] for name, value in known.items()}
    laws = latent_laws(vae, 10_000, {n: v.expand(10_000, *v.shape[1:]) for n, v in given.items()})
    (law, *others) = laws.values()
    if others or law.event_shape != (2,) or describe_support(law.support) != "the real numbers":
        sizes = ", ".join(f"{n} {tuple(law.event_shape)}" for n, law in laws.items())
        raise ValueError(
            f"Expected one latent site of two real features, a plane to decode; got {sizes}. Use "
            "plot_traversal."
        )
    with undisturbed(vae, 0):
        z = law.sample()
    low, high = torch.quantile(z, z.new_tensor(QUANTILES), dim=0)
    steps = torch.linspace(0, 1, side, device=z.device, dtype=z.dtype)
    first = (low[0] + (high[0] - low[0]) * steps).repeat(side)
    second = (high[1] + (low[1] - high[1]) * steps).repeat_interleave(side)
    rows: dict[str, Any] = {n: v.expand(len(first), *v.shape[1:]) for n, v in given.items()}
    x = decode(vae, torch.stack([first, second], dim=-1), **rows)
    title = "means E[x | z]; z1 to the right, z2 upwards, 1 % to 99 % of the prior"
    figure, axes = new_figure(1, 1, (8, 8.4))
    scale = scale_of(x if split is None else _some(split), split)
    add_bar(figure, show_images(axes[0], x, scale, title, side), axes, scale, x.shape[1] == 1)
    return figure


def plot_traversal(vae: Any, split: Split, steps: int = 11, **known: Any) -> "Figure":
    r"""Decodes one datum's latent variable while one feature at a time crosses its range.

    Features are ordered by how much the data move them, most first. Real features go from their
    1 % to their 99 % quantile over data, bits are flipped, of blocks each category is shown, and
    on the sphere the point goes around a great circle; of sequences a feature is one value at all
    steps. Of several latent sites the real features of all are walked, the others staying where
    the datum has them.

    Arguments:
        vae: The VAE.
        split: The data; the walks start at the first.
        steps: How many points a walk has, where that can be chosen.
        known: Further inputs of the programs that the split does not hold.
    """
    rows = torch.arange(min(ROWS, len(split)))
    seen = split.knowing(**known).freeze(0).take(rows)
    sites = encode_sites(vae, seen)
    steps = min(steps, max(3, in_row(split.x_shape, steps)))
    walk = walk_from(vae, {name: part.loc for name, part in sites.items()}, seen, steps)
    conditions = [n for n in getattr(vae, "conditions", ()) if n in seen.known]
    first = torch.zeros(len(walk.z), dtype=torch.long)
    of_start = {n: v for n, v in seen.known_at(first).items() if n in conditions}
    x = as_pictures(decode(vae, walk.z, **of_start), seen, of_start)
    names = _with_rates(vae, seen, walk)
    start = f"row {int(split.row_numbers[0])}"
    if split.labels is not None:
        start += f", label {_label(split, 0)}"
    shown = f"; {len(walk.names)} of {walk.total} shown" if walk.total > len(walk.names) else ""
    title = f"means E[x | z] from {start}; in each row {walk.what}{shown}"
    height = (0.75 if is_image(x) else 0.22 * walk.steps) * len(names) + 0.8
    figure, axes = new_figure(1, 1, (8.6, min(14.0, height)))
    if is_image(x):
        scale = scale_of(_some(split), split)
        drawn = show_images(axes[0], x, scale, "", walk.steps)
        add_bar(figure, drawn, axes, scale, x.shape[1] == 1)
        name_rows(axes[0], names, x.shape[2] + 1, 0.5 * (x.shape[2] + 1))
    else:
        table = table_of(split if len(split.x_shape) == 1 else None, x.flatten(1))
        drawn = show_table(axes[0], x, table, "", rows="latent step, by feature")
        figure.colorbar(drawn, ax=axes, label="standard deviations from the mean")
        name_rows(axes[0], names, walk.steps, 0.5 * (walk.steps - 1))
        for row in range(1, len(names)):
            axes[0].axhline(row * walk.steps - 0.5, color="black", linewidth=0.5)
    figure.suptitle(title, fontsize=9)
    return figure


def plot_latent(
    vae: Any, split: Split, count: int = 5000, *, site: str | None = None, **known: Any
) -> "Figure":
    r"""Places posterior means in the plane, by their principal axes if they have more.

    Arguments:
        vae: The VAE.
        split: The data.
        count: How many of them.
        site: Which latent site; all of them joined by default.
        known: Further inputs of the programs that the split does not hold.
    """
    rows = split.spread(count)
    seen = split.knowing(**known).freeze(0).take(rows)
    if site is None:
        loc = encode(vae, seen).loc.flatten(1).double().cpu()
    else:
        loc = encode_sites(vae, seen)[site].loc.flatten(1).double().cpu()
    return plot_codes(loc, seen, "means of q(z | x)")


def plot_codes(loc: Tensor, split: Split, title: str) -> "Figure":
    r"""Places codes in the plane, by their principal axes if they have more than two features.

    Arguments:
        loc: The codes, of shape `(N, num_features)`.
        split: The data, whose labels give the colours.
        title: What they are.
    """
    names = ["z1", "z2"]
    if loc.shape[1] > 2:
        centred = loc - loc.mean(0)
        _, size, directions = torch.linalg.svd(centred, full_matrices=False)
        shares = size.square() / size.square().sum().clamp(min=1e-30)
        loc = centred @ directions[:2].T
        names = [
            f"{name} principal axis, {float(share):.0%} of the variance"
            for name, share in zip(("first", "second"), shares)
        ]
    if loc.shape[1] < 2:
        loc = torch.cat([loc, torch.zeros_like(loc)], dim=1)
    figure, axes = new_figure(1, 1, (6.8, 5.6))
    _scatter(figure, axes[0], loc, split)
    axes[0].set(title=f"{title}, {len(loc)} data", xlabel=names[0], ylabel=names[1])
    return figure


def _with_rates(vae: Any, split: Split, walk: Walk) -> list[str]:
    r"""The names of features with their share of the KL term, where it splits by feature."""
    try:
        rates = rate_distortion(vae, split, 1).by_feature
    except (ValueError, NotImplementedError):
        rates = None
    if rates is None or not all(name[1:].isdigit() for name in walk.names):
        return walk.names
    return [f"{name}\n{float(rates[int(name[1:]) - 1]):.2f} nats" for name in walk.names]


def _scatter(figure: "Figure", axis: "Axes", points: Tensor, split: Split) -> None:
    r"""Points in the colours of their labels; grey where a label is missing."""
    first, second = points[:, 0].numpy(), points[:, 1].numpy()
    dots: dict[str, Any] = {"s": 6, "linewidths": 0}
    if split.labels is None:
        axis.scatter(first, second, **dots)
        return
    labels = split.labels.cpu()
    missing = labels.isnan() if labels.is_floating_point() else labels < 0
    axis.scatter(first[missing], second[missing], color="0.7", **dots)
    there = (~missing).numpy()
    present = labels[~missing].unique().tolist()
    if not labels.is_floating_point() and len(present) <= 20:
        import matplotlib

        colours = matplotlib.colormaps["tab10" if len(present) <= 10 else "tab20"]
        for i, label in enumerate(present):
            rows = (labels == label).numpy()
            name = split.classes[label] if label < len(split.classes) else str(label)
            axis.scatter(first[rows], second[rows], color=colours(i), label=name, **dots)
        axis.legend(fontsize=7, markerscale=2.5, title="label", title_fontsize=7)
        return
    shown = axis.scatter(
        first[there], second[there], c=labels[~missing].numpy(), cmap="viridis", **dots
    )
    figure.colorbar(shown, ax=axis, label="label")


def _label(split: Split, row: int) -> str:
    assert split.labels is not None
    label = split.labels[row].item()
    if isinstance(label, int) and 0 <= label < len(split.classes):
        return split.classes[label]
    return f"{label:g}"


def _some(split: Split) -> Tensor:
    return split.freeze(0).rows(split.spread(1000))
