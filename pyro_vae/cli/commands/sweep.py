import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tyro.conf import Positional, UseAppendAction

from ...config import override, read_recipe, read_settings, read_values, validate
from ...runs.records import to_json
from ..groups import measured, print_ranking, save_ranking
from ..output import at_least_one
from ..shared import Command, DataDir

if TYPE_CHECKING:
    from ...train import Trained


@dataclass(kw_only=True)
class Sweep(Command):
    r"""Trains every combination of some settings with several seeds, and ranks them with errors.

    Small models of one shape are trained in one step. `--grid "train.lr=1e-3,3e-3" --grid
    "prior.kind=standard-normal,vamp"`; a value that is a list stands in brackets. Other settings
    are flags, as in `train`. An interrupted sweep goes on where it was when it is called again.
    """

    takes_settings: ClassVar[bool] = True

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file."""
    grid: UseAppendAction[tuple[str, ...]] = ()
    """A setting with its values, as in "train.lr=1e-3,3e-3"; once for each setting."""
    seeds: int = 5
    """How many seeds each combination is trained with, from --seed on."""
    out: Path | None = None
    """The folder of the runs (default: runs/RECIPE-sweep)."""
    overwrite: bool = False
    """Replace the runs that are already there."""
    together: int | None = None
    """At most how many models share a step (default: by a rule)."""
    num_samples: int = 100
    """Importance samples per datum for log p(x) of the test data."""
    json: bool = False
    """Print one JSON object."""
    data_dir: DataDir = None

    def __call__(self, flags: dict[str, Any]) -> None:
        from ...train import fit_many

        at_least_one(self.seeds, "--seeds")
        at_least_one(self.num_samples, "--num-samples")
        at_least_one(self.together or 1, "--together")
        grid = read_grid(self.grid)
        values = override(read_recipe(self.recipe), flags)
        recipe = validate(values)
        out = self.out or Path("runs") / f"{recipe.name}-sweep"
        start = time.perf_counter()
        models = fit_many(
            values,
            seeds=range(recipe.seed, recipe.seed + self.seeds),
            grid=grid,
            out=out,
            overwrite=self.overwrite,
            data_dir=self.data_dir,
            together=self.together,
            progress=not self.json,
        )
        if not self.json:
            print(f"Trained {len(models)} models in {time.perf_counter() - start:.0f} s.")
        self.report(out, models)

    def report(self, out: Path, models: "Sequence[Trained]") -> None:
        r"""Prints and draws how the settings compare."""
        from ...ranks import here

        whole = [trained for trained in models if trained.error is None]
        failed = {t.name: str(t.error) for t in models if t.error is not None}
        if not whole:
            why = next(iter(failed.values()))
            raise ValueError(f"Expected models to compare; all of them stopped. {why}")
        try:
            folders = [trained.folder for trained in whole if trained.folder is not None]
            found = measured(folders, self.num_samples, self.data_dir)
        except ValueError as error:  # a posterior that says nothing of unseen data, say
            print(f"Not ranked. {error}")
            return
        if here().rank:
            return
        valid = {t.name: t.valid_elbo for t in whole if t.valid_elbo is not None}
        record = save_ranking(out, found, valid, failed)
        print(to_json(record)) if self.json else print_ranking(record)


def read_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    r"""Reads settings with their values.

    Raises:
        ValueError: A text is not a setting with values, or a setting comes twice.

    Example:
        >>> read_grid(["train.lr=1e-3,3e-3", "likelihood.decoder.hidden_features=[9,9],[9]"])
        {'train.lr': [0.001, 0.003], 'likelihood.decoder.hidden_features': [[9, 9], [9]]}
    """
    settings = read_settings(texts, "--grid", "train.lr=1e-3,3e-3")
    return {key: read_values(values) for key, values in settings.items()}
