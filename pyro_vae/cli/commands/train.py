import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tyro.conf import Positional

from ...config import Recipe, RelativeRecipe, override, read_recipe, recipes, validate
from ...runs import RunFolder
from ...runs.records import declaration
from ..shared import Command, DataDir

if TYPE_CHECKING:
    from ...data import Dataset, Split


AnyRecipe = Recipe | RelativeRecipe


@dataclass(kw_only=True)
class Train(Command):
    r"""Trains a recipe. Every setting is a flag, as in --prior.kind vamp --train.epochs 40.

    `pyro-vae train RECIPE --help` lists the settings of that recipe.
    """

    takes_settings: ClassVar[bool] = True

    recipe: Positional[str] = ""
    """A name from `pyro-vae list`, or a TOML file; with --resume, the recipe of the run."""
    out: Path | None = None
    """The folder of the run (default: runs/RECIPE-DATE-TIME)."""
    resume: str | None = None
    """Continue the run in this folder; without a folder, the newest run of the recipe."""
    overwrite: bool = False
    """Replace the run in --out, once the new one has a checkpoint."""
    seeds: int | None = None
    """Train with that many seeds, small models in one step, and compare them."""
    data_dir: DataDir = None

    def __call__(self, flags: dict[str, Any]) -> None:
        from ...build import build_model, find_device
        from ...ranks import here
        from ...train import fit
        from ...train.fit import goes_on

        if self.seeds is not None:
            self.sweep(self.seeds, flags)
            return
        if not self.recipe and self.resume is None:
            known = ", ".join(recipes())
            raise ValueError(f"Expected a recipe ({known}) or a TOML file; got none.")
        if not here().alone and self.out is None and self.resume is None:
            raise ValueError("Expected --out, the folder of all ranks; got none.")
        if self.out is not None and goes_on(RunFolder(self.out), self.overwrite):
            self.resume, self.overwrite = str(self.out), False
        resume = self.resume is not None
        run, recipe = self.resumed(flags) if resume else self.started(flags)
        if resume and (why := why_complete(run, recipe)):
            print(f"Nothing left to do: {run.path} has {run.recorded.epochs} epochs; {why}.")
            return
        device = find_device(recipe.device)
        recipe, dataset = self.with_data(recipe, run if resume else None)
        rows = dataset.train
        vae = build_model(recipe, rows.x_shape, rows.scale, rows).to(device)
        print(f"{recipe.name} on {device}, {len(rows)} data, into {run.path}", flush=True)
        valid, settings = validation(vae, recipe, dataset)
        settings |= {"out": run.path, "resume": resume, "overwrite": self.overwrite}
        declared = declaration(recipe, dataset)
        history = fit(vae, rows, valid=valid, seed=recipe.seed, **declared, **settings)
        print(
            f"Trained {history['epoch'][-1]} epochs in {history['seconds'][-1]:.0f} s. "
            f"Next: {', '.join(next_commands(vae, dataset.splits, run.path))}"
        )

    def sweep(self, seeds: int, flags: dict[str, Any]) -> None:
        r"""Trains the recipe with several seeds."""
        from .sweep import Sweep

        if self.resume is not None:
            raise ValueError(
                "Expected --seeds without --resume: called again, it goes on where it was."
            )
        Sweep(
            recipe=self.recipe,
            seeds=seeds,
            out=self.out,
            overwrite=self.overwrite,
            data_dir=self.data_dir,
        )(flags)

    def started(self, flags: dict[str, Any]) -> tuple[RunFolder, AnyRecipe]:
        r"""A new run, and its recipe."""
        from ...ranks import here

        said: list[str] = []
        recipe = validate(override(read_recipe(self.recipe), flags, said))
        for line in said:
            print(line)
        name = f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        run = RunFolder(self.out or Path("runs") / name)
        here().by_first(partial(run.check_free, self.overwrite))
        return run, recipe

    def resumed(self, flags: dict[str, Any]) -> tuple[RunFolder, AnyRecipe]:
        r"""A run to continue, and its recipe with the epochs and the device from flags."""
        from ...ranks import here

        name = validate(read_recipe(self.recipe)).name if self.recipe else None
        newest = self.resume == "newest"
        run = RunFolder.newest(name) if newest else RunFolder(str(self.resume))
        out = run.path
        if self.overwrite or (self.out is not None and self.out.resolve() != out.resolve()):
            wrong = "--overwrite" if self.overwrite else f"--out {self.out}"
            raise ValueError(
                f"Expected --resume {out} to continue in its own folder; got {wrong}, too."
            )
        here().by_first(run.recover)
        run = RunFolder.open(out)
        if name is not None and name != run.recipe.name:
            raise ValueError(
                f"Expected the recipe of {out}, {run.recipe.name!r}; got {name!r}. Leave it out: "
                f"pyro-vae train --resume {out}."
            )
        recipe = validate(override(run.recipe.model_dump(mode="json"), flags))
        run.check_same(recipe)
        return run, recipe

    def with_data(self, recipe: AnyRecipe, run: RunFolder | None) -> "tuple[AnyRecipe, Dataset]":
        r"""The recipe with settings that depend on the data, and the data, new or of a run."""
        from ... import data
        from ...build import resolve_columns

        if run is not None:
            return recipe, run.dataset(self.data_dir)
        if recipe.data.kind == "file":  # the absolute path, so that it is found from any folder
            path = data.find_file(recipe.data.path, self.data_dir).resolve()
            whole = recipe.data.model_copy(update={"path": path})
            recipe = recipe.model_copy(update={"data": whole})
        dataset = data.load(recipe.data, self.data_dir, quiet=True)
        for note in dataset.notes.splitlines():
            print(f"data: {note}")
        return resolve_columns(recipe, dataset.train), dataset


def why_complete(run: RunFolder, recipe: AnyRecipe) -> str:
    r"""Why nothing is left to do for a run; empty if something is."""
    if run.recorded.stopped_early:
        return "it stopped early"
    return "increase --train.epochs for more" if run.recorded.epochs >= recipe.train.epochs else ""


def validation(
    vae: Any, recipe: AnyRecipe, dataset: "Dataset"
) -> "tuple[Split | None, dict[str, Any]]":
    r"""The rows for validation, if any, and the settings of training."""
    from ...train.fit import held_out_rows

    settings = recipe.train.model_dump()
    rows = dataset.valid
    valid, why = held_out_rows(vae, rows)
    if valid is None or rows is None:
        early = "" if recipe.train.patience is None else ", so that training does not stop early"
        print(f"No validation: {why}{early}.")
        return None, settings | {"patience": None}
    if hidden := [name for name in vae.latents if name in rows.known]:
        chosen = "selects the epoch" if recipe.train.patience else "is measured, selecting nothing"
        print(
            f"Validation: the ELBO of {len(valid)} rows whose {', '.join(hidden)} is not told "
            f"{chosen}; their labels are used for nothing."
        )
    return valid, settings


def next_commands(vae: Any, splits: Any, out: Path) -> list[str]:
    r"""The commands that work on a run."""
    from ...gallery import Relative
    from ...programs import is_scored

    own = isinstance(vae, Relative)
    rows = "" if "test" in splits and (own or not vae.posterior.index) else " --split train"
    names = ["evaluate", "plot"] if own or is_scored(vae) else ["plot"]
    return [f"pyro-vae {name} {out}{rows}" for name in names]
