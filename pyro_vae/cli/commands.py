r"""What the commands do. Torch is imported inside, when a command runs."""

import json
import shutil
import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import (
    ESTIMATORS,
    REGISTRY,
    Recipe,
    override,
    read_recipe,
    recipes,
    to_toml,
    validate,
)
from . import arguments

if TYPE_CHECKING:
    from ..data import Dataset, Split


def train(command: arguments.Train, flags: dict[str, Any]) -> None:
    from .. import data
    from ..build import build_vae, find_device
    from ..evaluate.checks import take
    from ..objectives import plan, planned
    from ..train import fit

    if command.resume is None:
        recipe = validate(override(read_recipe(command.recipe), flags))
        out = command.out or Path("runs") / f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    else:
        name = validate(read_recipe(command.recipe)).name
        out = _newest_run(name) if command.resume == "newest" else Path(command.resume)
        recipe = validate(override(_recorded(out), flags))
    device = find_device(recipe.device)
    dataset = data.load(recipe.data, command.data_dir)
    x_shape, scale = dataset.train.x_shape, dataset.train.scale
    vae = build_vae(recipe, x_shape, scale, dataset.train).to(device)
    take(vae, dataset.train, skip_checks=recipe.train.skip_checks)  # before any folder is made
    plan(vae, dataset.train.rows(slice(0, 2)).to(device), **planned(recipe.train))

    if command.overwrite and command.resume is None and (out / "config.toml").is_file():
        shutil.rmtree(out)
    if command.resume is None and (out / "checkpoints").exists():
        raise ValueError(
            f"Expected a folder without a run; got {out}, which holds one. Continue it with "
            f"--resume {out}, choose another --out, or delete it with --overwrite."
        )
    out.mkdir(parents=True, exist_ok=True)
    if command.resume is None:
        (out / "config.toml").write_text(to_toml(recipe), encoding="utf-8")
        (out / "data.json").write_text(json.dumps(dataset.record(), indent=2) + "\n")
    print(f"{recipe.name} on {device}, {len(dataset.train)} data, into {out}", flush=True)
    valid = dataset.valid
    if vae.posterior.index and valid is not None:
        print("No validation: this posterior has parameters for its training data alone.")
        valid = None
    history = fit(
        vae,
        dataset.train,
        valid=valid,
        seed=recipe.seed,
        out=out,
        resume=command.resume is not None,
        record={
            "recipe": recipe.model_dump(mode="json"),
            "data": dataset.record(),
            "x_shape": list(x_shape),
            "scale": scale,
        },
        **recipe.train.model_dump(),
    )
    print(
        f"Trained {history['epoch'][-1]} epochs in {history['seconds'][-1]:.0f} s. "
        f"Next: pyro-vae evaluate {out}, pyro-vae plot {out}"
    )


def evaluate(command: arguments.Evaluate, flags: dict[str, Any]) -> None:
    from ..evaluate import evaluate as figures_of
    from ..evaluate.diagnosis import simulated

    vae, split, name = _load(command)
    index = _row_numbers(command, vae, split)
    figures = {
        "data": name,
        "split": command.split,
        **figures_of(
            vae, split, command.num_samples, index=index, seed=command.seed, kept=command.kept
        ),
        **(simulated(vae, seed=command.seed) if command.simulated else {}),
    }
    if command.json:
        print(_json(figures))
        return
    print(
        f"{name}, {command.split}, {figures['num_data']} data, in nats per datum:\n"
        f"  ELBO      {figures['elbo']:10.3f} +- {figures['elbo_se']:.3f}\n"
        f"  log p(x)  {figures['log_marginal']:10.3f} +- {figures['log_marginal_se']:.3f}"
        f"  (Monte Carlo +- {figures['log_marginal_mc_se']:.3f}, "
        f"{figures['num_importance_samples']} samples, median ESS {figures['ess_median']:.0f})"
    )
    if "bits_per_dim" in figures:
        print(f"  {figures['bits_per_dim']:.4f} bits per dimension, from log p(x)")
    print(f"  {figures['light']}: {figures['trust']}")
    if "no 95 %" in str(figures["log_marginal_errors"]):
        print(f"  {figures['log_marginal_errors']}")
    if command.simulated:
        count = figures["simulated_num_data"]
        print(f"  {count} simulated data, whose mean log p(x) lies between")
        for name in ("elbo", "eubo"):
            value, error = figures[f"simulated_{name}"], figures[f"simulated_{name}_se"]
            print(f"  {name.upper():10s}{value:10.3f} +- {error:.3f}")
    if "not_a_density" in figures:
        print(f"  Not a density: {figures['not_a_density']}")


def diagnose(command: arguments.Diagnose, flags: dict[str, Any]) -> None:
    from .. import data, report
    from ..checkpoint import load
    from ..evaluate import diagnose as ask
    from ..evaluate.checks import take

    recipe = validate(_recorded(command.run))
    vae = load(command.run, command.device)
    dataset = data.load(recipe.data, command.data_dir)
    test = take(vae, _split_of(dataset, "test"), skip_checks=recipe.train.skip_checks)
    found = ask(
        vae,
        test,
        dataset.train,
        num_samples=command.num_samples,
        num_data=_at_least_one(command.num_data),
        num_temperatures=command.num_temperatures,
        num_steps=command.num_steps,
        seed=command.seed,
    )
    title = f"{recipe.name}, {dataset.name} test data"
    figures = report.pictures(vae, test, found, command.run / "metrics.jsonl")
    path = command.html or command.run / "diagnosis.html"
    path.write_text(report.html(found, title, figures), encoding="utf-8")
    if command.json:
        print(_json({"data": dataset.name, "split": "test", **found.record()}))
        return
    print(report.text(found, title))
    print(f"\nThe page with pictures: {path}")


def compare(command: arguments.Compare, flags: dict[str, Any]) -> None:
    from .. import data
    from ..checkpoint import load
    from ..evaluate import check_comparable, log_marginal
    from ..evaluate import compare as difference
    from ..evaluate.checks import take

    sides = []
    for run in (command.a, command.b):
        dataset = data.load(validate(_recorded(run)).data, command.data_dir)
        vae = load(run, command.device)
        record = {**dataset.record(), "discrete": vae.likelihood.support.is_discrete}
        sides.append((vae, dataset, record))
    records = [record for _, _, record in sides]
    check_comparable(records[0], records[1], command.split)
    values = []
    for vae, dataset, _ in sides:
        split = _split_of(dataset, command.split).freeze(command.seed)
        split = take(vae, split)
        estimate = log_marginal(vae, split, command.num_samples, seed=command.seed)
        values.append(estimate.log_marginal)
    found = difference(values[0], values[1], data=records[0])
    if command.json:
        print(_json({"a": str(command.a), "b": str(command.b), **found._asdict()}))
        return
    print(found.sentence(str(command.a), str(command.b)))
    if found.bits_per_dim is not None:
        bits, few = abs(found.bits_per_dim), "fewer" if found.bits_per_dim > 0 else "more"
        print(f"{command.b} takes {bits:.5f} bits per dimension {few} than {command.a}.")


def encode(command: arguments.Encode, flags: dict[str, Any]) -> None:
    import numpy as np

    from ..evaluate import encode as moments_of

    vae, split, _ = _load(command)
    moments = moments_of(vae, split, index=_row_numbers(command, vae, split))
    arrays: dict[str, Any] = {k: v.cpu().numpy() for k, v in moments._asdict().items()}
    if split.labels is not None:
        arrays["labels"] = split.labels.cpu().numpy()
    np.savez(command.out, **arrays)
    print(f"{command.out}: " + ", ".join(f"{k} {v.shape}" for k, v in arrays.items()))


def sample(command: arguments.Sample, flags: dict[str, Any]) -> None:
    from ..checkpoint import load
    from ..evaluate import sample as draw
    from ..plot import plot_samples

    vae = load(command.run, command.device)
    _save_picture(
        plot_samples(vae, command.num_samples, seed=command.seed), command.run, "samples"
    )
    _save_array(draw(vae, command.num_samples, command.what, seed=command.seed), command.out)


def reconstruct(command: arguments.Reconstruct, flags: dict[str, Any]) -> None:
    from ..evaluate import reconstruct as see
    from ..plot import plot_reconstructions

    vae, split, _ = _load(command)
    count = _at_least_one(command.num_data)
    figure = plot_reconstructions(vae, split, count, seed=command.seed)
    _save_picture(figure, command.run, "reconstructions")
    x = split.freeze(command.seed).rows(slice(0, count))
    _save_array(see(vae, x, command.what, seed=command.seed), command.out)


def plot(command: arguments.Plot, flags: dict[str, Any]) -> None:
    from ..plot import plot_run

    vae, split, _ = _load(command)
    paths = plot_run(vae, split, command.run / "pictures", command.run / "metrics.jsonl")
    print("Pictures: " + ", ".join(map(str, paths)))


def list_(command: arguments.List, flags: dict[str, Any]) -> None:
    known: dict[str, dict[str, dict[str, str]]] = {}
    for choice, kinds in REGISTRY.items():
        known[choice] = {}
        for name, kind in kinds.items():
            row = known[choice][name] = {"formula": (kind.__doc__ or "").strip()}
            if kind.support:
                row |= {"support": kind.support, "advice": kind.advice}
    known["estimator"] = {name: {"formula": text} for name, text in ESTIMATORS.items()}
    known["recipe"] = {
        name: {"formula": path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")}
        for name, path in recipes().items()
    }
    if command.json:
        print(json.dumps(known, indent=2))
        return
    for choice, rows in known.items():
        print(f"{choice}:")
        for name, row in rows.items():
            print(f"  {name:32s}{row['formula']}")
            if "support" in row:
                print(f"  {'':32s}on {row['support']}: {row['advice']}")


def explain(command: arguments.Explain, flags: dict[str, Any]) -> None:
    from ..objectives import explain as derive
    from ..objectives import planned

    recipe, vae, train = _built(command, flags)
    derivation = derive(vae, train.rows(slice(0, 2)), **planned(recipe.train))
    print(derivation.latex if command.latex else derivation.text)


def inspect(command: arguments.Inspect, flags: dict[str, Any]) -> None:
    from ..microscope import inspect_step
    from ..objectives import plan, planned

    recipe, vae, train = _built(command, flags)
    rows = train.spread(_at_least_one(command.num_data))
    known = {"index": rows} if vae.posterior.index else {}
    x = train.freeze(recipe.seed).rows(rows)
    print(f"The ELBO of {len(x)} training data of {recipe.name}, before training, by one sample:")
    print(inspect_step(vae, x, seed=recipe.seed, **known))
    settings = recipe.train
    weight = f"KL weight {settings.kl_weight:g}"
    if settings.kl_warmup_epochs:
        weight += f" after {settings.kl_warmup_epochs:g} epochs from 0"
    print(f"Training takes {plan(vae, x, **planned(settings)).why} {weight}.")


def _built(command: Any, flags: dict[str, Any]) -> tuple[Recipe, Any, "Split"]:
    r"""A recipe with its settings, the VAE that it declares, and its training data."""
    from .. import data
    from ..build import build_vae

    recipe = validate(override(read_recipe(command.recipe), flags))
    train = data.load(recipe.data, command.data_dir).train
    return recipe, build_vae(recipe, train.x_shape, train.scale, train), train


def show(command: arguments.Show, flags: dict[str, Any]) -> None:
    print(to_toml(validate(read_recipe(command.recipe))), end="")


RUN: dict[type, Callable[[Any, dict[str, Any]], None]] = {
    arguments.Train: train,
    arguments.Evaluate: evaluate,
    arguments.Diagnose: diagnose,
    arguments.Compare: compare,
    arguments.Encode: encode,
    arguments.Sample: sample,
    arguments.Reconstruct: reconstruct,
    arguments.Plot: plot,
    arguments.List: list_,
    arguments.Show: show,
    arguments.Explain: explain,
    arguments.Inspect: inspect,
}


def _json(record: dict[str, Any]) -> str:
    r"""A record as JSON, which has no NaN and no infinity: they are null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        return None if isinstance(value, float) and not isfinite(value) else value

    return json.dumps(plain(record), allow_nan=False)


def _at_least_one(count: int) -> int:
    if count < 1:
        raise ValueError(f"Expected --num-data of at least 1; got {count}.")
    return count


def _recorded(run: Path) -> dict[str, Any]:
    r"""The recipe of a run."""
    path = run / "config.toml"
    if not path.is_file():
        raise ValueError(f"Expected the folder of a run, with config.toml; got {run}.")
    return read_recipe(path)


def _newest_run(name: str) -> Path:
    r"""The newest run of a recipe below `runs/`."""
    runs = [
        path for path in Path("runs").glob("*/config.toml") if read_recipe(path)["name"] == name
    ]
    if not runs:
        raise ValueError(f"Expected a run of {name!r} below runs/ to resume; found none.")
    return max(runs, key=lambda path: path.stat().st_mtime).parent


def _load(command: Any) -> tuple[Any, "Split", str]:
    r"""The VAE of a run, the rows asked for, and what the data are called."""
    from ..checkpoint import load
    from ..evaluate.checks import take

    recipe = validate(_recorded(command.run))
    vae = load(command.run, command.device)
    split, name = _find_split(recipe, command)
    return vae, take(vae, split, skip_checks=recipe.train.skip_checks), name


def _row_numbers(command: Any, vae: Any, split: "Split") -> Any:
    r"""Row numbers of the training data, for posteriors that know these alone."""
    import torch

    own = command.split == "train" and command.data is None
    return torch.arange(len(split)) if vae.posterior.index and own else None


def _find_split(recipe: Recipe, command: Any) -> tuple["Split", str]:
    r"""The rows of the run's data, of another known set, or of a file, by the run's rules."""
    from .. import data

    other, kind = getattr(command, "data", None), recipe.data
    if other is not None:
        rules = {"binarize": kind.binarize, "range": kind.range, "seed": kind.seed}
        known = REGISTRY["data"].get(other.replace("_", "-"))
        if known is None:
            return data.whole_file(Path(other), kind, command.split), other
        kind = validate(rules, known)
    dataset = data.load(kind, command.data_dir)
    return _split_of(dataset, command.split), dataset.name


def _split_of(dataset: "Dataset", name: str) -> "Split":
    if name not in dataset.splits:
        known = ", ".join(dataset.splits)
        raise ValueError(f"Expected one of {known}, the splits of {dataset.name}; got {name}.")
    return dataset.splits[name]


def _save_picture(figure: Any, run: Path, name: str) -> None:
    path = run / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"Picture: {path}")


def _save_array(x: Any, out: Path | None) -> None:
    if out is not None:
        import numpy as np

        np.save(out, x.cpu().numpy())
        print(f"{out}: {tuple(x.shape)}")
