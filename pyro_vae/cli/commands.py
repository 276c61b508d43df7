r"""Commands about runs. Torch is imported inside, when a command runs."""

import contextlib
import json
import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import read_recipe
from . import arguments, recipes
from .given import given_values
from .opened import Opened, data_of, open_run, rows_of, split_of
from .output import (
    announce,
    at_least_one,
    check_out,
    check_spares,
    named_columns,
    save_picture,
    to_json,
    write_arrays,
)

if TYPE_CHECKING:
    from ..data import Split


def evaluate(command: arguments.Evaluate, flags: dict[str, Any]) -> None:
    from ..evaluate import evaluate as figures_of
    from ..evaluate.diagnosis import simulated

    check_out(command.out, (".csv", ".npz"))
    check_out(command.kept, (".npz",), "--kept")
    at_least_one(command.num_samples, "--num-samples")
    _check_spares(command)
    vae, split, name, which = _load(command)
    announce(f"Evaluating {len(split)} data by {command.num_samples} samples each.")
    by_datum: dict[str, Any] = {}
    figures = {
        "data": name,
        "split": which,
        **figures_of(
            vae,
            split,
            command.num_samples,
            seed=command.seed,
            cache=command.kept,
            by_datum=by_datum,
        ),
        **(simulated(vae, seed=command.seed) if command.simulated else {}),
    }
    figures |= _accuracy(open_run(command.run), vae, split)
    if command.data is None:
        _keep_figures(open_run(command.run), command.split, figures)
    if command.json:
        if command.out is not None:
            with contextlib.redirect_stdout(sys.stderr):
                write_arrays(command.out, {**_keys(split), **by_datum})
        print(to_json(figures))
        return
    if command.out is not None:
        write_arrays(command.out, {**_keys(split), **by_datum})
    label = f"log {figures['evidence']}"
    print(
        f"{name}, {which}, {figures['num_data']} data, in nats per datum:\n"
        f"  ELBO      {_mean(figures['elbo'], figures['elbo_se'])}\n"
        f"  {label:10s}{_mean(figures['log_marginal'], figures['log_marginal_se'])}"
        f"  (Monte Carlo +- {figures['log_marginal_mc_se']:.3f}, "
        f"{figures['num_importance_samples']} samples, median ESS {figures['ess_median']:.0f})"
    )
    rates = {n: figures[f"kl_{n}"] for n in vae.latents if f"kl_{n}" in figures}
    if rates:
        print("  KL        " + ", ".join(f"{n} {float(v):.3f}" for n, v in rates.items()))
    for label, value in figures.items():
        if label.startswith("accuracy_"):
            site = label.removeprefix("accuracy_")
            print(f"  accuracy of {site}: {float(value):.1%} of {figures['num_labelled']}")
    if "bits_per_dim" in figures:
        print(
            f"  {figures['bits_per_dim']:.4f} bits per dimension, from log {figures['evidence']}"
        )
    print(f"  {figures['verdict']}: {figures['reason']}")
    if "no 95 %" in str(figures["log_marginal_errors"]):
        print(f"  {figures['log_marginal_errors']}")
    if command.simulated:
        count = figures["simulated_num_data"]
        print(f"  {count} simulated data, whose mean log p(x) lies between")
        for name in ("elbo", "eubo"):
            value, error = figures[f"simulated_{name}"], figures[f"simulated_{name}_se"]
            print(f"  {name.upper():10s}{_mean(value, error)}")
    if "not_a_density" in figures:
        print(f"  Not a density: {figures['not_a_density']}")


def _mean(value: Any, error: Any) -> str:
    r"""A mean with its standard error, which a single datum has not."""
    known = error is not None and isfinite(error)
    return f"{value:10.3f} +- " + (f"{error:.3f}" if known else "unknown, of one datum")


def _accuracy(run: Opened, vae: Any, split: "Split") -> dict[str, Any]:
    r"""How often the posterior of a site that has labels in training finds the label."""
    from ..evaluate import encode_sites

    told: dict[str, Any] = {}
    for name, columns in run.recipe.data.known.items():
        labels = split.labels
        if name not in vae.latents or columns != ("label",) or labels is None:
            continue
        if labels.is_floating_point():
            continue
        guess = encode_sites(vae, split)[name].loc.argmax(-1).cpu()
        there = labels.cpu() >= 0
        right = (guess == labels.cpu())[there]
        told |= {f"accuracy_{name}": float(right.double().mean()), "num_labelled": len(right)}
    return told


def diagnose(command: arguments.Diagnose, flags: dict[str, Any]) -> None:
    from .. import report
    from ..checkpoint import load
    from ..checks import take
    from ..evaluate import diagnose as ask
    from ..programs import guide_name, wants_rows

    check_out(command.html, (".html", ".htm"), "--html")
    run = open_run(command.run)
    vae = load(command.run, command.device)
    if wants_rows(vae):
        raise ValueError(
            f"Expected a posterior that takes any data, simulated ones too; got "
            f"{guide_name(vae)}. pyro-vae evaluate {command.run} --split train says "
            "how good it is."
        )
    dataset = data_of(run, command.data_dir, command.split, "train")
    rows = split_of(dataset, command.split).forgetting(vae.latents)
    rows = take(vae, rows, skip_checks=run.recipe.train.skip_checks)
    announce(
        f"Diagnosing {len(rows)} data: importance sampling, annealing, the gap ledger, "
        "calibration. This takes some minutes."
    )
    found = ask(
        vae,
        rows,
        dataset.train.forgetting(vae.latents),
        num_samples=at_least_one(command.num_samples, "--num-samples"),
        num_data=at_least_one(command.num_data),
        num_temperatures=command.num_temperatures,
        num_steps=command.num_steps,
        seed=command.seed,
    )
    title = f"{run.recipe.name}, {dataset.name} {command.split} data"
    figures = report.pictures(vae, rows, found, command.run / "metrics.jsonl")
    path = command.html or command.run / "diagnosis.html"
    path.write_text(report.html(found, title, figures), encoding="utf-8")
    if command.json:
        print(to_json({"data": dataset.name, "split": command.split, **found.record()}))
        return
    print(report.text(found, title))
    print(f"\nThe page with pictures: {path}")


def compare(command: arguments.Compare, flags: dict[str, Any]) -> None:
    from ..checkpoint import load
    from ..checks import take
    from ..evaluate import check_comparable, log_marginal
    from ..evaluate import compare as difference

    at_least_one(command.num_samples, "--num-samples")
    from ..data import fingerprint

    if len(command.runs) < 2:
        raise ValueError(f"Expected two or more runs to compare; got {len(command.runs)}.")
    sides = []
    for path in command.runs:
        run = open_run(path)
        dataset = data_of(run, command.data_dir, command.split)
        vae = load(path, command.device)
        rows = split_of(dataset, command.split).forgetting(vae.latents)
        record = {**dataset.record(), "discrete": vae.likelihood.support.is_discrete}
        record["sha256"] = {**record["sha256"], command.split: fingerprint(rows)}
        sides.append((vae, rows, record))
    records = [record for _, _, record in sides]
    for record in records[1:]:
        check_comparable(records[0], record, command.split)
    values = []
    announce(f"Comparing {len(sides)} runs by {command.num_samples} samples per datum.")
    for vae, rows, _ in sides:
        split = take(vae, rows.freeze(command.seed))
        estimate = log_marginal(vae, split, command.num_samples, seed=command.seed)
        values.append(estimate.log_marginal)
    names = [str(path) for path in command.runs]
    best = max(range(len(values)), key=lambda i: float(values[i].mean()))
    if len(values) > 2:
        _print_ranking(command, names, values, best, records[0])
        return
    found = difference(values[0], values[1], data=records[0])
    if command.json:
        print(to_json({"a": names[0], "b": names[1], **found.record()}))
        return
    print(found.sentence(*names))
    if found.bits_per_dim is not None:
        bits, few = abs(found.bits_per_dim), "fewer" if found.bits_per_dim > 0 else "more"
        print(f"{names[1]} takes {bits:.5f} bits per dimension {few} than {names[0]}.")


def _print_ranking(
    command: arguments.Compare, names: list[str], values: list[Any], best: int, record: Any
) -> None:
    r"""Every run against the best one, by paired differences."""
    from ..evaluate import compare as difference
    from ..statistics import Mean

    order = sorted(range(len(values)), key=lambda i: -float(values[i].mean()))
    rows = []
    for i in order:
        gap = None if i == best else difference(values[best], values[i], data=record).record()
        mean = Mean.of(values[i])
        row: dict[str, Any] = {"run": names[i], "log_marginal": mean.value, "se": mean.se}
        rows.append(row | {"to_best": gap})
    if command.json:
        print(to_json({"split": command.split, "num_data": len(values[0]), "runs": rows}))
        return
    width = max(map(len, names))
    print(f"log p(x) of {len(values[0])} {command.split} data, in nats per datum:")
    for row in rows:
        gap = row["to_best"]
        told = (
            "best" if gap is None else f"{gap['difference']:+.3f} +- {gap['se']:.3f} to the best"
        )
        if gap is not None and gap["p_value"] > 0.01:
            told += " (no difference is seen)"
        print(f"  {row['run']:{width}s}  {row['log_marginal']:10.3f} +- {row['se']:.3f}  {told}")


def encode(command: arguments.Encode, flags: dict[str, Any]) -> None:
    from ..evaluate import encode_sites as moments_of

    check_out(command.out, (".npz", ".csv"))
    _check_spares(command)
    vae, split, *_ = _load(command)
    arrays: dict[str, Any] = {}
    sites = moments_of(vae, split)
    for site, moments in sites.items():
        prefix = f"{site}_" if len(sites) > 1 else ""
        arrays |= {f"{prefix}{k}": v.cpu().numpy() for k, v in moments._asdict().items()}
    write_arrays(command.out, {**arrays, **_keys(split)})


def sample(command: arguments.Sample, flags: dict[str, Any]) -> None:
    from ..checkpoint import load
    from ..evaluate import sample as draw
    from ..plot import plot_samples

    check_out(command.out)
    _check_spares(command)
    run = open_run(command.run)
    vae = load(command.run, command.device)
    count = at_least_one(command.num_samples, "--num-samples")
    given = given_values(vae, command.given, run.data.get("form", {}), run.recipe.data.known)
    figure = plot_samples(vae, count, seed=command.seed, **given)
    save_picture(figure, command.run, "samples", _title(run))
    if command.out is not None:
        x = draw(vae, count, command.what, seed=command.seed, **given).cpu().numpy()
        _write_data(command.out, x, run, {}, command.what)


def reconstruct(command: arguments.Reconstruct, flags: dict[str, Any]) -> None:
    from ..evaluate import reconstruct as see
    from ..plot import plot_reconstructions

    check_out(command.out)
    _check_spares(command)
    run = open_run(command.run)
    vae, split, *_ = _load(command)
    count = at_least_one(command.num_data)
    figure = plot_reconstructions(vae, split, count, seed=command.seed)
    save_picture(figure, command.run, "reconstructions", _title(run))
    if command.out is not None:
        rows = split.spread(count)
        seen = split.freeze(command.seed).take(rows)
        x = see(vae, seen, command.what, seed=command.seed).cpu().numpy()
        _write_data(command.out, x, run, _keys(seen), command.what)


def _write_data(out: Path, x: Any, run: Opened, keys: dict[str, Any], what: str) -> None:
    r"""Data of a model: a table with the names that the training data had, else an array."""
    from ..data import Column

    columns = [Column(n, tuple(c)) for n, c in run.data.get("form", {}).get("columns", ())]
    if out.suffix.lower() == ".csv" and columns:
        if what == "mean":  # means of codes are no categories
            columns = [Column(column.name) for column in columns]
        write_arrays(out, {**keys, **named_columns(x, columns)})
    else:
        write_arrays(out, {"x": x, **keys})


def plot(command: arguments.Plot, flags: dict[str, Any]) -> None:
    from ..plot import plot_run

    run = open_run(command.run)
    vae, split, *_ = _load(command)
    metrics = command.run / "metrics.jsonl"
    paths = plot_run(vae, split, command.run / "pictures", metrics, _title(run))
    print("Pictures: " + ", ".join(map(str, paths)))


def _check_spares(command: Any) -> None:
    r"""Refuses to write over the data of the run, or over those that are asked for."""
    kind = open_run(command.run).recipe.data
    sources = [getattr(kind, "path", None), getattr(command, "data", None)]
    check_spares(command.out, *(source for source in sources if source is not None))


def _title(run: Opened) -> str:
    r"""What a picture says of the run that it shows."""
    return f"{run.path}, recipe {run.recipe.name}, epoch {run.epochs}"


def runs(command: arguments.Runs, flags: dict[str, Any]) -> None:
    if not command.folder.is_dir():
        raise ValueError(f"Expected a folder of runs; got {command.folder}.")
    rows = [_row_of(path.parent) for path in sorted(command.folder.glob("*/config.toml"))]
    if command.json:
        print(to_json({"runs": rows}))
        return
    if not rows:
        print(f"No runs in {command.folder}.")
        return
    names = {
        "run": "run",
        "recipe": "recipe",
        "data": "data",
        "epochs": "epochs",
        "valid": "validation ELBO",
        "test": "test log p(x)",
        "light": "light",
    }
    table = [list(names.values())]
    table += [["" if row[n] is None else str(row[n]) for n in names] for row in rows]
    widths = [max(len(line[j]) for line in table) for j in range(len(names))]
    for line in table:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())


def _row_of(run: Path) -> dict[str, Any]:
    r"""What the files of a run say of it, without its tensors."""
    row: dict[str, Any] = dict.fromkeys(("recipe", "data", "epochs", "valid", "test", "light"))
    row = {"run": str(run), **row}
    try:
        values = read_recipe(run / "config.toml")
        row |= {"recipe": values["name"], "data": values["data"]["kind"]}
        if row["data"] == "file":
            row["data"] = Path(values["data"]["path"]).name
    except (ValueError, KeyError, TypeError):
        row["recipe"] = "not readable"
    metrics = run / "metrics.jsonl"
    if metrics.is_file():
        for line in metrics.read_text(encoding="utf-8").splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            row["epochs"] = found.get("epoch", row["epochs"])
            if "elbo" in found:
                row["valid"] = f"{found['elbo']:.3f} +- {found['elbo_se'] or 0:.3f}"
    figures = _kept_figures(run).get("test")
    if figures:
        row["test"] = f"{figures['log_marginal']:.3f} +- {figures['log_marginal_se'] or 0:.3f}"
        row["light"] = figures.get("verdict", figures.get("light"))  # in older runs
    return row


def _kept_figures(run: Path) -> dict[str, Any]:
    path = run / "figures.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, OSError):
        return {}


def _keep_figures(run: Opened, split: str, figures: dict[str, Any]) -> None:
    r"""Keeps the figures of a run's own data, for the table of runs: those by the most samples.

    Where nothing can be written, evaluation goes on without.
    """
    kept = _kept_figures(run.path)
    known = kept.get(split, {})
    samples = "num_importance_samples"
    if known.get("epochs") == run.epochs and known.get(samples, 0) > figures[samples]:
        return
    path = run.path / "figures.json"
    partial = path.with_name(".figures.partial.json")
    with contextlib.suppress(OSError):
        text = to_json({**kept, split: {**figures, "epochs": run.epochs}})
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)


def _load(command: Any) -> tuple[Any, "Split", str, str]:
    r"""The VAE of a run, the rows asked for, and what data and split are called."""
    from ..checkpoint import load
    from ..checks import take

    run = open_run(command.run)
    vae = load(command.run, command.device)
    data = getattr(command, "data", None)
    split, name, which = rows_of(run, command.split, data, command.data_dir)
    split = _with_rows(command, vae, split.forgetting(vae.latents))
    return vae, take(vae, split, skip_checks=run.recipe.train.skip_checks), name, which


def _with_rows(command: Any, vae: Any, split: "Split") -> "Split":
    r"""The split with row numbers of the training data, for posteriors that know these alone."""
    import torch

    from ..programs import guide_name, wants_rows

    if not wants_rows(vae):
        return split
    if command.split != "train" or getattr(command, "data", None) is not None:
        raise ValueError(
            f"Expected training data, for which alone {guide_name(vae)} has "
            f"parameters; got {command.split} data. Say --split train."
        )
    return split.knowing(index=torch.arange(len(split)))


def _keys(split: "Split") -> dict[str, Any]:
    r"""What joins figures of data with the user's file: row numbers, and labels by name."""
    import numpy as np

    keys: dict[str, Any] = {"rows": split.row_numbers.cpu().numpy()}
    if split.labels is not None:
        labels = split.labels.cpu().numpy()
        keys["labels"] = labels
        if split.classes and labels.dtype.kind == "i":
            names = np.array([*split.classes, ""])
            keys["label_names"] = names[np.where(labels < 0, len(split.classes), labels)]
    return keys


RUN: dict[type, Callable[[Any, dict[str, Any]], None]] = {
    arguments.Train: recipes.train,
    arguments.Evaluate: evaluate,
    arguments.Diagnose: diagnose,
    arguments.Compare: compare,
    arguments.Encode: encode,
    arguments.Sample: sample,
    arguments.Reconstruct: reconstruct,
    arguments.Plot: plot,
    arguments.Runs: runs,
    arguments.List: recipes.list_,
    arguments.Show: recipes.show,
    arguments.Explain: recipes.explain,
    arguments.Inspect: recipes.inspect,
}
