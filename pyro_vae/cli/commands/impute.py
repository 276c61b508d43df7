import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...config import REGISTRY
from ..completed import errors, write_completed
from ..output import announce, at_least_one, check_out, save_plot
from ..shared import OnAnyRows

if TYPE_CHECKING:
    from ...data import Split

DRAWS = {"sir": 200, "gibbs": 50, "nuts": 200}
r"""Draws of each row of a table, by which categories and intervals are found."""


@dataclass(kw_only=True)
class Impute(OnAnyRows):
    r"""Fills what is missing of data, in a file of the same form, and plots it.

    Of a table of text only missing cells change: numbers become their conditional means, rounded
    where a column has whole numbers, categories the most probable ones. A second file, NAME-draws,
    has completions drawn from the model, with a column `imputation` that counts them from 1.
    """

    holes: str | None = None
    """Hide more: random:0.5, or a region of images such as bottom, left or top-right."""
    num_samples: int = 5
    """Number of drawn completions."""
    method: Literal["sir", "gibbs", "nuts"] = "sir"
    """Importance resampling, Metropolis within Gibbs (for runs trained on whole data, too), or
    NUTS."""
    num_particles: int = 1000
    """Draws per datum that sir chooses from and chains of gibbs start from."""
    num_steps: int = 500
    """Steps of each chain of gibbs or nuts."""
    num_data: int | None = None
    """Number of data, evenly spread; by default all."""
    out: Path | None = None
    """A .csv, .npz or .npy file (default: RUN/imputed.csv, or .npz for other data than tables)."""
    seed: int = 0
    """Seeds draws and random holes."""

    def __call__(self) -> None:
        from ...models import allowing_holes
        from ...plot.completions import plot_imputed
        from ...ranks import here
        from ...views import impute

        check_out(self.out)
        count = at_least_one(self.num_samples, "--num-samples")
        run = self.opened()
        vae = allowing_holes(run.model(self.device))
        split, name, which = self.rows(run, vae)
        split = self.hidden(split)
        table = bool(split.columns)
        announce(f"Completing {len(split)} data by {self.method}.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is printed below
            found = impute(
                vae,
                split,
                max(count, DRAWS[self.method]) if table else count,
                method=self.method,
                num_particles=self.num_particles,
                num_steps=self.num_steps,
                seed=self.seed,
            )
        if here().rank:
            return
        x = split.rows(slice(None))
        cells = int(x.isnan().sum())
        print(f"{name}, {which}: {cells} of {x.numel()} elements of {len(x)} data were missing.")
        print(found.reason)
        for line in errors(found, split):
            print(line)
        source = getattr(run.recipe.data, "path", None)
        if self.data is not None:
            source = None if self.data.replace("_", "-") in REGISTRY["data"] else Path(self.data)
        out = self.out or run.path / ("imputed.csv" if table else "imputed.npz")
        write_completed(out, run, source, self.data_dir, split, found, count)
        if cells:
            save_plot(plot_imputed(found, split, seed=self.seed), run.path, "imputed", run.title)

    def hidden(self, split: "Split") -> Any:
        r"""The rows to complete, with what is to be hidden of them, besides their own holes."""
        from ...data import hidden_by

        split = split.freeze(self.seed)
        if self.num_data is not None:
            split = split.take(split.spread(at_least_one(self.num_data)))
        if self.holes is None:
            return split
        holes = hidden_by(split, self.holes, self.seed).to(split.device)
        return split.hiding(holes if split.holes is None else holes | split.holes)
