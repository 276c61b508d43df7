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
from . import arguments
from .opened import Opened, data_of, differences, newest_run, open_run, settings_of
from .output import at_least_one

if TYPE_CHECKING:
    from ..data import Split


def train(command: arguments.Train, flags: dict[str, Any]) -> None:
    from .. import data
    from ..build import build_vae, find_device, resolve_columns
    from ..checkpoint import RunFolder
    from ..evaluate.checks import take
    from ..objectives import plan, planned
    from ..train import fit

    before = None if command.resume is None else _to_resume(command)
    recipe = _new_recipe(command, flags) if before is None else _same_recipe(before, flags)
    if before is not None:
        out = before.path
        if before.stopped or before.epochs >= recipe.train.epochs:
            why = "it stopped early" if before.stopped else "--train.epochs asks for more"
            print(f"Nothing left to do: {out} has {before.epochs} epochs; {why}.")
            return
    else:
        out = command.out or Path("runs") / f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        RunFolder(out).check_free(command.overwrite)
    device = find_device(recipe.device)
    if before is None:
        recipe = _whole_path(recipe, command.data_dir)
        dataset = data.load(recipe.data, command.data_dir, quiet=True)
        recipe = resolve_columns(recipe, dataset.train)
    else:
        dataset = data_of(before, command.data_dir)
    x_shape, scale = dataset.train.x_shape, dataset.train.scale
    vae = build_vae(recipe, x_shape, scale, dataset.train).to(device)
    take(vae, dataset.train, skip_checks=recipe.train.skip_checks)  # before any folder is made
    x, known = dataset.train.to(device).batch(slice(0, 2))
    plan(vae, x, known=known, **planned(recipe.train))
    for note in dataset.notes.splitlines() if before is None else ():
        print(f"data: {note}")
    print(f"{recipe.name} on {device}, {len(dataset.train)} data, into {out}", flush=True)
    valid, settings = dataset.valid, recipe.train.model_dump()
    if valid is not None:  # what is to be inferred is not told
        valid = valid.forgetting(vae.latents)
    if why := _no_validation(vae) or ("there are no rows for it" if valid is None else ""):
        early = "" if recipe.train.patience is None else ", so that training does not stop early"
        print(f"No validation: {why}{early}.")
        valid = settings["patience"] = None
    history = fit(
        vae,
        dataset.train,
        valid=valid,
        seed=recipe.seed,
        out=out,
        resume=before is not None,
        overwrite=command.overwrite,
        record={
            "recipe": settings_of(recipe),
            "data": dataset.record(),
            "x_shape": list(x_shape),
            "scale": scale,
        },
        files={
            "config.toml": to_toml(recipe),
            "data.json": json.dumps(dataset.record(), indent=2) + "\n",
        },
        **settings,
    )
    print(
        f"Trained {history['epoch'][-1]} epochs in {history['seconds'][-1]:.0f} s. "
        f"Next: {', '.join(_next(vae, dataset.splits, out))}"
    )


def _new_recipe(command: arguments.Train, flags: dict[str, Any]) -> Recipe:
    said: list[str] = []
    recipe = validate(override(read_recipe(command.recipe), flags, said))
    for line in said:
        print(line)
    return recipe


def _to_resume(command: arguments.Train) -> Opened:
    r"""The run to go on with."""
    from ..checkpoint import RunFolder

    name = validate(read_recipe(command.recipe)).name if command.recipe else None
    out = newest_run(name) if command.resume == "newest" else Path(str(command.resume))
    if command.overwrite or (command.out is not None and command.out.resolve() != out.resolve()):
        wrong = "--overwrite" if command.overwrite else f"--out {command.out}"
        raise ValueError(f"Expected --resume {out} to go on in its own folder; got {wrong}, too.")
    RunFolder(out).recover()
    found = open_run(out)
    if name is not None and name != found.recipe.name:
        raise ValueError(
            f"Expected the recipe of {out}, {found.recipe.name!r}; got {name!r}. Leave it out: "
            f"pyro-vae train --resume {out}."
        )
    return found


def _same_recipe(before: Opened, flags: dict[str, Any]) -> Recipe:
    r"""The recipe of a run, of which flags may change the number of epochs and the device."""
    old = settings_of(before.recipe)
    recipe = validate(override(old, flags))
    free = ("train.epochs ", "device ")
    changed = [d for d in differences(old, settings_of(recipe)) if not d.startswith(free)]
    if changed:
        raise ValueError(
            f"Expected the training that {before.path} holds; got another one: "
            f"{'; '.join(changed)}. Only train.epochs and device may change."
        )
    return recipe


def _whole_path(recipe: Recipe, data_dir: Path | None) -> Recipe:
    r"""The recipe with the whole path of its file, so that it is found from any folder."""
    from ..data import find_file

    if recipe.data.kind != "file":
        return recipe
    path = find_file(recipe.data.path, data_dir).resolve()
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"path": path})})


def _no_validation(vae: Any) -> str:
    if vae.posterior.index:
        return "this posterior has parameters for its training data alone"
    if vae.posterior.density == "none":
        return "a point in the place of q(z | x) has no ELBO"
    return ""


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
    from ..debug import inspect_step
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
