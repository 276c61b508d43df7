from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..output import at_least_one, check_out, save_plot, write_data
from ..shared import OnAnyRows, keys_of


@dataclass(kw_only=True)
class Reconstruct(OnAnyRows):
    r"""Plots data and their reconstructions; --out also writes the numbers."""

    num_data: int = 10
    """Number of data."""
    what: Literal["mean", "sample"] = "mean"
    """The numbers to write: means of p(x | z), or draws from it."""
    out: Path | None = None
    """A .npy, .npz or .csv file for the numbers."""
    seed: int = 0
    """Seeds the draws."""

    def __call__(self) -> None:
        from ...evaluate import reconstruct
        from ...plot import plot_reconstructions

        check_out(self.out)
        run = self.opened()
        vae = run.model(self.device)
        split, *_ = self.rows(run, vae)
        count = at_least_one(self.num_data)
        figure = plot_reconstructions(vae, split, count, seed=self.seed)
        save_plot(figure, run.path, "reconstructions", run.title)
        if self.out is not None:
            seen = split.freeze(self.seed).take(split.spread(count))
            x = reconstruct(vae, seen, self.what, seed=self.seed).cpu().numpy()
            form = run.recorded.data.get("form", {})
            write_data(self.out, x, form, keys_of(seen), self.what)
