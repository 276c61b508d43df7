from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tyro.conf import Positional, UseAppendAction

from ...config import override, read_recipe, read_settings, read_space, validate
from ...config.space import as_json
from ...runs.records import to_json
from ...writing import write_text
from ..output import at_least_one
from ..shared import Command, DataDir

if TYPE_CHECKING:
    from ...train import Trial

RECORD, PICTURE = "tune.json", "tune.png"


@dataclass(kw_only=True)
class Tune(Command):
    r"""Searches for the settings with the largest validation ELBO, each trial with several seeds.

    `--search "train.lr=1e-4..1e-2 log" --search "latent_dim=2..32" --search
    "prior.kind=standard-normal,vamp"`: whole numbers if both ends are whole, `log` for a
    logarithmic scale, commas for choices. Other settings are flags, as in `train`. Several
    processes with one --storage share the trials; an interrupted search goes on where it was.
    """

    takes_settings: ClassVar[bool] = True

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file."""
    search: UseAppendAction[tuple[str, ...]] = ()
    """A setting with a range or choices, as in "train.lr=1e-4..1e-2 log"; once for each."""
    trials: int = 20
    """How many trials there are, those of all processes and of earlier calls together."""
    seeds: int = 3
    """How many seeds each trial is trained with, from --seed on."""
    storage: str | None = None
    """A database by its URL (default: sqlite:///OUT/study.db)."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Tree-structured Parzen estimators after ten random trials, or random trials."""
    out: Path | None = None
    """The folder of the runs (default: runs/RECIPE-tune)."""
    together: int | None = None
    """At most how many models share a step (default: by a rule)."""
    json: bool = False
    """Print one JSON object."""
    data_dir: DataDir = None

    def __call__(self, flags: dict[str, Any]) -> None:
        from ...train import tune

        at_least_one(self.trials, "--trials")
        at_least_one(self.seeds, "--seeds")
        at_least_one(self.together or 1, "--together")
        space = read_space(read_settings(self.search, "--search", "train.lr=1e-4..1e-2 log"))
        values = override(read_recipe(self.recipe), flags)
        recipe = validate(values)
        out = self.out or Path("runs") / f"{recipe.name}-tune"
        trials = tune(
            values,
            search=space,
            trials=self.trials,
            seeds=range(recipe.seed, recipe.seed + self.seeds),
            storage=self.storage,
            sampler=self.sampler,
            out=out,
            data_dir=self.data_dir,
            together=self.together,
            progress=not self.json,
        )
        self.report(out, as_json(space), trials)

    def report(self, out: Path, search: dict[str, Any], trials: "Sequence[Trial]") -> None:
        r"""Writes, draws and prints what was found."""
        from ...plot.search import plot_search

        record = record_of(search, trials)
        if record["best"] is None:
            raise ValueError(
                f"Expected trials to compare; all of them failed. {record['trials'][0]['error']}"
            )
        write_text(out / RECORD, to_json(record) + "\n")
        plot_search(record["trials"], search, out / PICTURE)
        record |= {"picture": str(out / PICTURE)}
        print(to_json(record)) if self.json else print_search(record, trials)


def record_of(search: dict[str, Any], trials: "Sequence[Trial]") -> dict[str, Any]:
    r"""The record of a search: its trials in their order, and the number of the best."""
    rows: list[dict[str, Any]] = [
        {
            "trial": trial.number,
            "name": trial.name,
            "values": trial.values,
            "valid_elbo": trial.valid_elbo,
            "valid_elbo_se": None if trial.valid_elbo is None else trial.valid_elbo.se,
            "seeds": {str(seed): bound for seed, bound in trial.seeds.items()},
            "error": trial.error,
            "runs": [str(path) for path in trial.folders],
            "seconds": trial.seconds,
        }
        for trial in trials
    ]
    done = [row for row in rows if row["valid_elbo"] is not None]
    best = max(done, key=lambda row: row["valid_elbo"], default=None)
    return {"search": search, "trials": rows, "best": None if best is None else best["trial"]}


def print_search(record: dict[str, Any], trials: "Sequence[Trial]") -> None:
    r"""Prints the trials, the best first."""
    done = [trial for trial in trials if trial.valid_elbo is not None]
    done.sort(key=lambda trial: -float(trial.valid_elbo or 0.0))
    seeds = len(done[0].seeds)
    print(
        f"Validation ELBO of {len(trials)} trials in nats per datum; errors are of {seeds} seeds:"
    )
    width = max(len(trial.name) for trial in done)
    for trial in done:
        print(f"  {trial.name:{width}s}  {trial.valid_elbo}".removesuffix(" nats per datum"))
    for trial in trials:
        if trial.error is not None:
            print(f"  {trial.name} failed: {trial.error}")
    print(f"Best: {done[0].name}. The best of many looks better than it is: see other data.")
    print(f"Plot: {record['picture']}")
