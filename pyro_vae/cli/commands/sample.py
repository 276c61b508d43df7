from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..given import given_values
from ..output import at_least_one, check_out, save_plot, write_data
from ..shared import OnRun


@dataclass(kw_only=True)
class Sample(OnRun):
    r"""Draws and plots new data from the model; --out also writes the numbers."""

    num_samples: int = 64
    """Number of data."""
    given: tuple[str, ...] = ()
    """Conditions and values of latent sites, as in y=3, c=0.5,1 or c=@c.npy."""
    what: Literal["sample", "mean"] = "sample"
    """The numbers to write: draws from p(x | z), or its means."""
    out: Path | None = None
    """A .npy, .npz or .csv file for the numbers."""
    seed: int = 0
    """Seeds the draws."""

    def __call__(self) -> None:
        from ...evaluate import sample
        from ...plot import plot_samples

        check_out(self.out)
        run = self.opened()
        vae = run.model(self.device)
        count = at_least_one(self.num_samples, "--num-samples")
        form = run.recorded.data.get("form", {})
        given = given_values(vae, self.given, form, run.recipe.data.known)
        figure = plot_samples(vae, count, seed=self.seed, **given)
        save_plot(figure, run.path, "samples", run.title)
        if self.out is not None:
            x = sample(vae, count, self.what, seed=self.seed, **given).cpu().numpy()
            write_data(self.out, x, form, {}, self.what)
