r"""Commands about a recipe: train it, show it, explain it. Torch is imported inside."""

import json
import time
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
from ..runs import RunFolder
from ..runs.records import declaration
from . import arguments
from .output import at_least_one

if TYPE_CHECKING:
    from ..data import Dataset, Split


def train(command: arguments.Train, flags: dict[str, Any]) -> None:
    from ..build import build_vae, find_device
    from ..train import fit

    resume = command.resume is not None
    run, recipe = _resumed(command, flags) if resume else _started(command, flags)
    if resume and (why := _complete(run, recipe)):
        print(f"Nothing left to do: {run.path} has {run.recorded.epochs} epochs; {why}.")
        return
    device = find_device(recipe.device)
    recipe, dataset = _with_data(command, recipe, run if resume else None)
    rows = dataset.train
    vae = build_vae(recipe, rows.x_shape, rows.scale, rows).to(device)
    print(f"{recipe.name} on {device}, {len(rows)} data, into {run.path}", flush=True)
    valid, settings = _validation(vae, recipe, dataset)
    settings |= {"out": run.path, "resume": resume, "overwrite": command.overwrite}
    declared = declaration(recipe, dataset)
    history = fit(vae, rows, valid=valid, seed=recipe.seed, **declared, **settings)
    print(
        f"Trained {history['epoch'][-1]} epochs in {history['seconds'][-1]:.0f} s. "
        f"Next: {', '.join(_next(vae, dataset.splits, run.path))}"
    )


def _started(command: arguments.Train, flags: dict[str, Any]) -> tuple[RunFolder, Recipe]:
    r"""A new run, and its recipe."""
    said: list[str] = []
    recipe = validate(override(read_recipe(command.recipe), flags, said))
    for line in said:
        print(line)
    name = f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    run = RunFolder(command.out or Path("runs") / name)
    run.check_free(command.overwrite)
    return run, recipe


def _resumed(command: arguments.Train, flags: dict[str, Any]) -> tuple[RunFolder, Recipe]:
    r"""A run to go on with, and its recipe, with the epochs and the device that flags say."""
    name = validate(read_recipe(command.recipe)).name if command.recipe else None
    newest = command.resume == "newest"
    run = RunFolder.newest(name) if newest else RunFolder(str(command.resume))
    out = run.path
    if command.overwrite or (command.out is not None and command.out.resolve() != out.resolve()):
        wrong = "--overwrite" if command.overwrite else f"--out {command.out}"
        raise ValueError(f"Expected --resume {out} to go on in its own folder; got {wrong}, too.")
    run.recover()
    run = RunFolder.open(out)
    if name is not None and name != run.recipe.name:
        raise ValueError(
            f"Expected the recipe of {out}, {run.recipe.name!r}; got {name!r}. Leave it out: "
            f"pyro-vae train --resume {out}."
        )
    recipe = validate(override(run.recipe.model_dump(mode="json"), flags))
    run.check_same(recipe)
    return run, recipe


def _complete(run: RunFolder, recipe: Recipe) -> str:
    r"""Why nothing is left to do for a run; empty if some is."""
    if run.recorded.stopped_early:
        return "it stopped early"
    return "--train.epochs asks for more" if run.recorded.epochs >= recipe.train.epochs else ""


def _with_data(
    command: arguments.Train, recipe: Recipe, run: RunFolder | None
) -> "tuple[Recipe, Dataset]":
    r"""The recipe with what only data tell, and the data: new ones, or those of a run again."""
    from .. import data
    from ..build import resolve_columns

    if run is not None:
        return recipe, run.dataset(command.data_dir)
    if recipe.data.kind == "file":  # the whole path, so that it is found from any folder
        path = data.find_file(recipe.data.path, command.data_dir).resolve()
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": path})})
    dataset = data.load(recipe.data, command.data_dir, quiet=True)
    for note in dataset.notes.splitlines():
        print(f"data: {note}")
    return resolve_columns(recipe, dataset.train), dataset


def _validation(
    vae: Any, recipe: Recipe, dataset: "Dataset"
) -> "tuple[Split | None, dict[str, Any]]":
    r"""The rows that training is validated by, if any, and its settings."""
    valid, settings = dataset.valid, recipe.train.model_dump()
    if (why := _no_validation(vae, valid)) or valid is None:
        early = "" if recipe.train.patience is None else ", so that training does not stop early"
        print(f"No validation: {why}{early}.")
        return None, settings | {"patience": None}
    return valid.forgetting(vae.latents), settings  # what is to be inferred is not told


def _no_validation(vae: Any, valid: Any) -> str:
    if vae.posterior.index:
        return "this posterior has parameters for its training data alone"
    if vae.posterior.density == "none":
        return "a point in the place of q(z | x) has no ELBO"
    return "there are no rows for it" if valid is None else ""


def _next(vae: Any, splits: Any, out: Path) -> list[str]:
    r"""The commands that work on a run."""
    rows = "" if "test" in splits and not vae.posterior.index else " --split train"
    names = ["evaluate", "plot"] if vae.posterior.density != "none" else ["plot"]
    return [f"pyro-vae {name} {out}{rows}" for name in names]


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


def show(command: arguments.Show, flags: dict[str, Any]) -> None:
    recipe = validate(override(read_recipe(command.recipe), flags))
    print(to_toml(recipe, optional=True), end="")


def explain(command: arguments.Explain, flags: dict[str, Any]) -> None:
    from ..objectives import explain as derive
    from ..objectives import planned

    recipe, vae, train = _built(command, flags)
    x, known = train.batch(slice(0, 2))
    derivation = derive(vae, x, known=known, **planned(recipe.train))
    print(derivation.latex if command.latex else derivation.text)


def inspect(command: arguments.Inspect, flags: dict[str, Any]) -> None:
    from ..microscope import inspect_step
    from ..objectives import plan, planned
    from ..programs import wants_rows

    recipe, vae, train = _built(command, flags)
    rows = train.spread(at_least_one(command.num_data))
    x, known = train.freeze(recipe.seed).take(rows).batch(slice(None))
    if wants_rows(vae):
        known["index"] = rows
    print(f"The ELBO of {len(x)} training data of {recipe.name}, before training, by one sample:")
    print(inspect_step(vae, x, seed=recipe.seed, **known))
    settings = recipe.train
    weight = f"KL weight {settings.kl_weight:g}"
    if settings.kl_warmup_epochs:
        weight += f" after {settings.kl_warmup_epochs:g} epochs from 0"
    print(f"Training takes {plan(vae, x, known=known, **planned(settings)).why} {weight}.")


def _built(command: Any, flags: dict[str, Any]) -> tuple[Recipe, Any, "Split"]:
    r"""A recipe with its settings, the VAE that it declares, and its training data."""
    from .. import data
    from ..build import build_vae

    recipe = validate(override(read_recipe(command.recipe), flags))
    train = data.load(recipe.data, command.data_dir, quiet=True).train
    return recipe, build_vae(recipe, train.x_shape, train.scale, train), train
