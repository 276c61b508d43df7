r"""Plots of metrics: learning curves, gaps, units, calibration."""

from math import nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..evaluate import Calibration, Classification, Ledger
from ..evaluate.collapse import ACTIVE
from ..statistics import Mean
from .canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_curves(rows: list[dict[str, Any]]) -> "Figure":
    r"""Shows the training's ELBO, its two terms and the validation ELBO over epochs."""
    train = [row for row in rows if "loss" in row]
    valid = [row for row in rows if "elbo" in row]
    figure, (left, right) = new_figure(1, 2, (10, 4))
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
    sites = [name for name in (train[-1] if train else ()) if name.startswith("kl_")]
    sites = [name for name in sites if name != "kl_weight"]
    colour = "black" if sites else "tab:green"
    right.plot(epochs, [row["kl"] for row in train], color=colour, label="all sites")
    right.set(xlabel="epoch", ylabel="nats per datum", title="KL(q(z | x) || p(z))")
    for name in sites:
        right.plot(epochs, [row.get(name, nan) for row in train], label=name.removeprefix("kl_"))
    if sites:
        right.set(title="KL term, and of each latent site", ylim=(0, None))
        right.legend(frameon=False, fontsize=7, ncols=1 + len(sites) // 6)
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
    means = [Mean.of(gap) for gap in gaps.values()]
    errors = [mean.se for mean in means]
    figure, axes = new_figure(1, 1, (6.4, 0.5 * len(gaps) + 1.2))
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
    figure, axes = new_figure(1, 2 if by_feature is not None else 1, (10, 3.4))
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
    from ..evaluate.calibration import QUANTITIES
    from ..statistics import band

    draws, count = calibration.num_draws, len(calibration.ranks)
    points, low, high = band(count, draws)
    figure, axes = new_figure(1, 2, (9.6, 3.2))
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
    figure, axes = new_figure(1, 1, (4.8, 3.2))
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


def plot_reliability(found: Classification, site: str = "y") -> "Figure":
    r"""Shows how often the most probable class is right against how probable it is.

    Arguments:
        found: The result of :func:`pyro_vae.evaluate.classification`.
        site: What the class is called.
    """
    figure, (above, below) = new_figure(2, 1, (4.6, 5.8))
    there = found.size > 0
    x, y, error = (
        v[there].numpy() for v in (found.confidence, found.frequency, found.frequency_se)
    )
    above.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="calibrated")
    above.errorbar(x, y, yerr=error, fmt="o-", markersize=4, linewidth=1, capsize=2, label="found")
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
    above.set_title(
        f"accuracy {found.accuracy.value:.1%} +- {found.accuracy.se:.1%}\n"
        f"calibration error {found.error.value:.3f} {found.error.error}"
        f" ({found.chance:.3f} by chance)",
        fontsize=9,
    )
    above.legend(fontsize=8, frameon=False)
    width = 1 / len(found.size)
    starts = torch.arange(len(found.size)) * width
    below.bar(starts.numpy(), found.size.numpy(), width=width, align="edge", edgecolor="white")
    below.set(xlim=(0, 1), xlabel=f"probability of the most probable {site}", ylabel="data")
    return figure
