r"""A diagnosis on one page, for a terminal and for a browser."""

import base64
import io
from html import escape
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .data import Split
from .evaluate import Diagnosis
from .evaluate.collapse import ACTIVE
from .statistics import Mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

Section = tuple[str, list[tuple[str, str]], list[str]]
r"""A title, rows of a table, and sentences."""

COLOURS = {"green": "#1a7f37", "amber": "#9a6700", "red": "#b3261e"}

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td { padding: .1rem 1.5rem .1rem 0 }
td + td { font-variant-numeric: tabular-nums } img { max-width: 100%; height: auto }
.light { color: white; padding: .1rem .6rem; border-radius: 1rem } figure { margin: 1rem 0 }
"""


def sections(diagnosis: Diagnosis) -> list[Section]:
    r"""Returns what a page says, in four answers."""
    return [
        _how_good(diagnosis),
        ("How sure is that?", [], [diagnosis.verdict.reason]),
        _what_limits(diagnosis),
        ("What to try?", [], diagnosis.advice),
        *([("Left out", [], diagnosis.notes)] if diagnosis.notes else []),
    ]


def _how_good(diagnosis: Diagnosis) -> Section:
    f = diagnosis.metrics
    rows = [("log p(x)", _mean(f, "log_marginal")), ("ELBO", _mean(f, "elbo"))]
    if "bits_per_dim" in f:
        rows.append(("bits per dimension", f"{f['bits_per_dim']:.4f}"))
    rows += [(f"for comparison, {n}", f"{v:.3f}") for n, v in diagnosis.classical.items()]
    about = f"{f['num_data']} data, nats per datum, +- standard error over data; log p(x) " + (
        "is a sum over all values of the latent variables."
        if isinf(f["ess_median"])
        else f"by {f['num_importance_samples']} importance samples, Monte Carlo +- "
        f"{f['log_marginal_mc_se']:.3f}."
    )
    return "How good is it?", rows, [about]


def _what_limits(diagnosis: Diagnosis) -> Section:
    rate, info = diagnosis.rate, diagnosis.information
    rows = []
    for name, ledger in (("test", diagnosis.ledger), ("training", diagnosis.train_ledger)):
        if ledger is not None:
            count = len(ledger.elbo)
            gaps = (("approximation", ledger.approximation), ("amortization", ledger.amortization))
            for kind, values in gaps:
                mean = ledger.mean(values)
                first = next(iter(ledger.optima))
                against = "" if first == "own" else f", against {first} q"
                where = f"{kind} gap, {count} {name} data{against}"
                rows.append((where, f"{mean:.3f} {mean.error}"))
    gap = diagnosis.train_gap
    rows.append(("ELBO of training minus test data", f"{gap:.3f} {gap.error}"))
    rows.append(("rate, KL(q(z | x) || p(z))", f"{float(rate.rate):.3f}"))
    rows.append(("distortion, -E log p(x | z)", f"{float(rate.distortion):.3f}"))
    active, units = int((diagnosis.activity > ACTIVE).sum()), len(diagnosis.activity)
    rows.append(("active latent units", f"{active} of {units}"))
    if info is not None:
        at_cap = f", which is the most that so few data can show ({info.cap:.2f})"
        value = f"{float(info.mutual_information):.3f}{at_cap if info.saturated else ''}"
        rows.append(("mutual information of x and z", value))
        value = f"{'at most ' if info.saturated else ''}{float(info.marginal_kl):.3f}"
        rows.append(("KL(q(z) || p(z))", value))
        rows.append(("share of the prior in holes", f"{float(info.holes):.1%}"))
    if diagnosis.calibration is not None:
        covered = float(diagnosis.calibration.coverage(0.5).mean())
        c = diagnosis.calibration
        value = f"{c.p}, by {c.worst}; 50 % intervals hold {covered:.0%}"
        rows.append(("simulation-based calibration", value))
        rows.append(("contraction of the posterior", _range(c.contraction)))
        rows.append(("bias, in posterior standard deviations", _range(c.z_score)))
        right = "" if bool(c.z_spread.isnan().all()) else "; 1 where q is right"
        rows.append(("error of z, in the same", _range(c.z_spread) + right))
    if diagnosis.simulated is not None:
        s = diagnosis.simulated
        about = f"{s['simulated_num_data']:.0f} simulated data"
        for name, key in (("ELBO", "simulated_elbo"), ("EUBO", "simulated_eubo")):
            rows.append((f"{name} of {about}", _mean(s, key)))
        rows.append(("between them, the Jeffreys divergence of q", _mean(s, "jeffreys")))
    unfinished = [
        f"The gaps of {name} data have not converged: their optimization still gains."
        for name, ledger in (("test", diagnosis.ledger), ("training", diagnosis.train_ledger))
        if ledger is not None and not ledger.converged
    ]
    return "What limits it?", rows, unfinished


def _mean(metrics: dict[str, Any], key: str) -> str:
    mean = Mean(metrics[key], metrics[f"{key}_se"])
    if isinf(mean):
        return "infinite: q has no density at some true z"
    return f"{mean:.3f} {mean.error}"


def _range(values: "Tensor") -> str:
    r"""The spread of a figure over features, as far as they have one."""
    known = values[~values.isnan()]
    if not len(known):
        return "no figure: draws of q are all equal for some data"
    values = known
    low, middle, high = (float(v) for v in (values.min(), values.median(), values.max()))
    return f"{low:.2f} to {high:.2f}, median {middle:.2f}"


def text(diagnosis: Diagnosis, title: str) -> str:
    r"""Returns the page for a terminal."""
    lines = [f"{title}: {diagnosis.verdict.colour}"]
    for name, rows, sentences in sections(diagnosis):
        lines.append(f"\n{name}")
        width = max((len(row[0]) for row in rows), default=0)
        lines += [f"  {key:{width}s}  {value}" for key, value in rows]
        lines += [f"  {'- ' if len(sentences) > 1 else ''}{line}" for line in sentences]
    return "\n".join(lines)


def html(diagnosis: Diagnosis, title: str, figures: "dict[str, Figure]") -> str:
    r"""Returns the page for a browser: one file with its plots inside."""
    colour = diagnosis.verdict.colour
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)} <span class='light' style='background:{COLOURS[colour]}'>{colour}"
        "</span></h1>",
    ]
    for name, rows, sentences in sections(diagnosis):
        parts.append(f"<h2>{escape(name)}</h2>")
        if rows:
            cells = (f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in rows)
            parts.append(f"<table>{''.join(cells)}</table>")
        parts += [f"<p>{escape(sentence)}</p>" for sentence in sentences]
    for name, figure in figures.items():
        source = f"data:image/png;base64,{_png(figure)}"
        parts.append(f"<figure><img alt='{escape(name)}' src='{source}'></figure>")
    return "\n".join([*parts, "</body></html>\n"])


def pictures(
    vae: Any, split: Split, diagnosis: Diagnosis, metrics: Path | None = None
) -> "dict[str, Figure]":
    r"""Draws what a page shows."""
    from . import plot

    figures: dict[str, Figure] = {}
    if diagnosis.ledger is not None:
        figures["gaps"] = plot.plot_gaps(diagnosis.ledger)
    figures["units"] = plot.plot_units(diagnosis.activity, diagnosis.rate.by_feature)
    if diagnosis.calibration is not None:
        figures["ranks"] = plot.plot_ranks(diagnosis.calibration)
        if not bool(diagnosis.calibration.z_spread.isnan().all()):
            figures["contraction"] = plot.plot_contraction(diagnosis.calibration)
    return figures | plot.draw_run(vae, split, metrics)


def _png(figure: "Figure") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
