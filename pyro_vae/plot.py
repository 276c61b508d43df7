r"""Pictures of a trained VAE. Matplotlib is imported only when one is drawn.  (layer 6)"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .data import Split
from .data.vision import torchvision
from .evaluate import Calibration, Ledger, decode, encode, reconstruct, sample
from .evaluate.collapse import ACTIVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTILES = (0.01, 0.99)


def plot_run(vae: Any, split: Split, folder: Path, metrics: Path | None = None) -> list[Path]:
    r"""Draws every picture of a trained VAE into `folder`.

    Arguments:
        vae: The VAE.
        split: Data to reconstruct and to place in latent space.
        folder: Where the pictures go.
        metrics: A ``metrics.jsonl``, for learning curves.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in draw_run(vae, split, metrics).items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=150)
    return paths


def draw_run(vae: Any, split: Split, metrics: Path | None = None) -> "dict[str, Figure]":
    r"""Draws every picture of a trained VAE, by name."""
    figures = {
        "samples": plot_samples(vae),
        "reconstructions": plot_reconstructions(vae, split),
        "latent": plot_latent(vae, split),
        "decoded": plot_manifold(vae) if _latent_dim(vae) == 2 else plot_traversal(vae, split),
    }
    if metrics is not None and metrics.is_file():
        figures["curves"] = plot_curves(
            [json.loads(line) for line in metrics.read_text().splitlines()]
        )
    return figures


def plot_samples(vae: Any, num_samples: int = 64, *, seed: int = 0) -> "Figure":
    r"""Draws :math:`z \sim p(z)`, then shows means and samples of :math:`p(x \mid z)`."""
    figure, axes = _figure(1, 2, (10, 5.4))
    for axis, what, title in zip(
        axes,
        ("mean", "sample"),
        ("means E[x | z], z from the prior", "samples x from p(x | z), same z"),
    ):
        _show(axis, sample(vae, num_samples, what, seed=seed), title)  # type: ignore[arg-type]
    return figure


def plot_reconstructions(vae: Any, split: Split, count: int = 10, *, seed: int = 0) -> "Figure":
    r"""Shows data, the mean of :math:`p(x \mid z)` at :math:`z \sim q(z \mid x)`, and a sample."""
    x = split.freeze(seed).rows(split.spread(count))
    rows = [
        (x, "data x"),
        (reconstruct(vae, x, "mean", seed=seed), "means E[x | z], z from q(z | x)"),
        (reconstruct(vae, x, "sample", seed=seed), "samples x from p(x | z), same z"),
    ]
    figure, axes = _figure(3, 1, (10, 4.2))
    for axis, (pictures, title) in zip(axes, rows):
        _show(axis, pictures, title, columns=count)
    return figure


def plot_manifold(vae: Any, side: int = 20) -> "Figure":
    r"""Decodes a square of a two-dimensional latent space, by quantiles of the prior's samples."""
    z = vae.prior().expand((10_000,)).sample()
    low, high = torch.quantile(z, z.new_tensor(QUANTILES), dim=0)
    steps = torch.linspace(0, 1, side, device=z.device)
    first = (low[0] + (high[0] - low[0]) * steps).repeat(side)
    second = (high[1] + (low[1] - high[1]) * steps).repeat_interleave(side)
    figure, axes = _figure(1, 1, (8, 8.4))
    title = "means E[x | z]; z1 to the right, z2 upwards, 1 % to 99 % of the prior"
    _show(axes[0], decode(vae, torch.stack([first, second], dim=-1)), title, columns=side)
    return figure


def plot_traversal(vae: Any, split: Split, steps: int = 11) -> "Figure":
    r"""Decodes one datum's latent variable while one feature at a time crosses its range.

    Features are ordered by how much the data move them, most first.
    """
    rows = split.freeze(0).rows(slice(0, min(2000, len(split))))
    loc = encode(vae, rows).loc
    low, high = torch.quantile(loc, loc.new_tensor(QUANTILES), dim=0)
    features = loc.var(0).argsort(descending=True)[:10].tolist()
    z = loc[:1].repeat(len(features) * steps, 1)
    for row, feature in enumerate(features):
        z[row * steps : (row + 1) * steps, feature] = torch.linspace(
            float(low[feature]), float(high[feature]), steps, device=z.device
        )
    figure, axes = _figure(1, 1, (8, 0.75 * len(features) + 0.8))
    title = "means E[x | z]; in each row one latent feature goes from its 1 % to its 99 % quantile"
    _show(axes[0], decode(vae, z), title, columns=steps)
    return figure


def plot_latent(vae: Any, split: Split, count: int = 5000) -> "Figure":
    r"""Places posterior means in the plane, by their principal axes if they have more."""
    rows = split.spread(count)
    loc = encode(vae, split.freeze(0).rows(rows)).loc.cpu()
    names = ("z1", "z2")
    if loc.shape[1] != 2:
        centred = loc - loc.mean(0)
        axes_ = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
        loc, names = centred @ axes_.T, ("first principal axis", "second principal axis")
    if loc.shape[1] < 2:
        loc = torch.cat([loc, torch.zeros_like(loc)], dim=1)
    figure, axes = _figure(1, 1, (6.4, 5.6))
    first, second = loc[:, 0].numpy(), loc[:, 1].numpy()
    if split.labels is None:
        axes[0].scatter(first, second, s=6, linewidths=0)
    else:
        labels = split.labels[rows.to(split.labels.device)].cpu().numpy()
        few = labels.max() - labels.min() < 10  # one colour a class
        limits = {"vmin": labels.min() - 0.5, "vmax": labels.min() + 9.5} if few else {}
        cmap = "tab10" if few else "viridis"
        dots = axes[0].scatter(first, second, c=labels, s=6, cmap=cmap, linewidths=0, **limits)
        figure.colorbar(dots, ax=axes[0], label="label", ticks=range(10) if few else None)
    axes[0].set(title=f"means of q(z | x), {len(loc)} data", xlabel=names[0], ylabel=names[1])
    return figure


def plot_curves(rows: list[dict[str, Any]]) -> "Figure":
    r"""Shows the training's ELBO, its two terms and the validation ELBO over epochs."""
    train = [row for row in rows if "loss" in row]
    valid = [row for row in rows if "elbo" in row]
    figure, (left, right) = _figure(1, 2, (10, 4))
    epochs = [row["epoch"] for row in train]
    bound = [row["reconstruction"] - row["kl"] for row in train]
    left.plot(epochs, bound, label="training ELBO")
    if valid:
        left.plot(
            [row["epoch"] for row in valid],
            [row["elbo"] for row in valid],
            label="validation ELBO",
        )
    skip = len(bound) // 10  # the first epochs would flatten the rest
    seen = bound[skip:] + [row["elbo"] for row in valid[skip:]]
    if seen and max(seen) > min(seen):
        margin = 0.1 * (max(seen) - min(seen))
        left.set_ylim(min(seen) - margin, max(seen) + margin)
    left.set(xlabel="epoch", ylabel="nats per datum", title="evidence lower bound")
    left.legend(frameon=False)
    right.plot(epochs, [row["kl"] for row in train], color="tab:green")
    right.set(xlabel="epoch", ylabel="nats per datum", title="KL(q(z | x) || p(z))")
    return figure


def plot_gaps(ledger: Ledger) -> "Figure":
    r"""Shows the bounds of a gap ledger from the lowest to :math:`\log p(x)`."""
    bounds = {"ELBO": ledger.elbo}
    bounds |= {
        f"best {name} q{'' if ledger.rises[name].ended else ', not converged'}": value
        for name, value in ledger.optima.items()
    }
    bounds |= {"log p(x)": ledger.log_marginal}
    gaps = {name: (value - ledger.elbo).double().cpu() for name, value in bounds.items()}
    means = [float(gap.mean()) for gap in gaps.values()]
    errors = [float(gap.std()) / len(gap) ** 0.5 for gap in gaps.values()]
    figure, axes = _figure(1, 1, (6.4, 0.5 * len(gaps) + 1.2))
    axes[0].barh(list(gaps), means, xerr=errors, color="tab:blue", ecolor="black")
    axes[0].invert_yaxis()
    axes[0].set(
        xlabel="nats per datum above the ELBO, +- standard error",
        title=f"why the bound is not higher, {len(ledger.elbo)} data",
    )
    return figure


def plot_units(activity: Tensor, by_feature: Tensor | None = None) -> "Figure":
    r"""Shows the activity of latent units, most active first, and their KL terms."""
    order = activity.argsort(descending=True)
    figure, axes = _figure(1, 2 if by_feature is not None else 1, (10, 3.4))
    places = [*range(1, len(order) + 1)]
    axes[0].bar(places, activity[order].clamp(min=1e-6).cpu().numpy(), color="tab:blue")
    axes[0].axhline(ACTIVE, color="black", linestyle="--", linewidth=1)
    axes[0].set(
        yscale="log",
        xlabel="latent unit, most active first",
        ylabel="variance over data of E[z | x]",
        title="activity; units above the line are active",
    )
    if by_feature is not None:
        axes[1].bar(places, by_feature[order].cpu().numpy(), color="tab:orange")
        axes[1].set(xlabel="latent unit, same order", ylabel="nats", title="KL term by unit")
    return figure


def plot_ranks(calibration: Calibration) -> "Figure":
    r"""Shows the distribution functions of the ranks of simulation-based calibration, minus that
    of uniform ranks, in the band where 95 % of uniform ones stay as a whole."""
    from .evaluate.sbc import QUANTITIES, band

    draws, count = calibration.num_draws, len(calibration.ranks)
    points, low, high = band(count, draws)
    figure, axes = _figure(1, 2, (9.6, 3.2))
    panels = [
        ("each latent feature", calibration.ranks, [""] * calibration.ranks.shape[1]),
        ("densities of z", calibration.density_ranks, QUANTITIES),
    ]
    for axis, (title, ranks, names) in zip(axes, panels):
        axis.fill_between(points, low - points, high - points, color="lightgrey")
        for column, name in zip(ranks.T.cpu().numpy(), names):
            share = (column[:, None] < points * (draws + 1)).mean(0)
            axis.step(points, share - points, linewidth=1, label=name or None)
        axis.axhline(0.0, color="black", linewidth=0.5)
        axis.set(title=title, xlabel="rank of the true z among draws of q, as a share")
    axes[0].set(ylabel="share of ranks below, minus uniform")
    axes[1].legend(fontsize="small", framealpha=0.5)
    figure.suptitle(f"simulation-based calibration, {calibration.p}; band: 95 %")
    return figure


def plot_contraction(calibration: Calibration) -> "Figure":
    r"""Shows what data tell of each latent feature, and how far off the posterior is."""
    figure, axes = _figure(1, 1, (4.8, 3.2))
    x, y = calibration.contraction.cpu(), calibration.z_spread.cpu()
    axes[0].scatter(x, y, s=16)
    for i in range(min(20, len(x))):
        place = (float(x[i]), float(y[i]))
        axes[0].annotate(
            str(i), place, xytext=(3, 3), textcoords="offset points", fontsize="small"
        )
    axes[0].axhline(1.0, color="black", linestyle="--", linewidth=1)
    axes[0].set(
        xlabel="contraction, 1 - Var q / Var p (0: unused)",
        ylabel="error / sd of q (above 1: too sure)",
        title="latent features on simulated data",
    )
    return figure


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple["Figure", list["Axes"]]:
    from matplotlib.figure import Figure  # no pyplot: no global state, no window

    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _show(axis: "Axes", x: Tensor, title: str, columns: int = 8) -> None:
    r"""Shows images as a grid on one scale of grey, vectors as rows of a matrix."""
    x = x.detach().float().cpu()
    low, high = float(x.min()), float(x.max())
    if x.dim() == 4 and x.shape[1] in (1, 3):
        x = (x - low) / (high - low or 1.0)
        grid = torchvision().utils.make_grid(x, nrow=columns, padding=1, pad_value=0.5)
        axis.imshow(grid.permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_axis_off()
    else:
        axis.imshow(x.flatten(1).numpy(), aspect="auto", interpolation="nearest", cmap="gray")
        axis.set(xlabel="element of x", ylabel="datum")
    axis.set_title(title, fontsize=10)


def _latent_dim(vae: Any) -> int:
    return vae.prior().event_shape[0]
