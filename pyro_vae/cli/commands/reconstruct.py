from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import ClassVar, Literal

from ...config import RelativeRecipe
from .. import relatives
from ..given import given_values
from ..output import AND_SOUND, at_least_one, check_out, check_sound, save_plot, write_data
from ..shared import OnAnyRows, keys_of


@dataclass(kw_only=True)
class Reconstruct(OnAnyRows):
    r"""Plots data and their reconstructions; --out also writes the numbers.

    With --given y=7 they are those of the same z under another condition.
    """

    takes_relatives: ClassVar[bool] = True

    num_data: int = 10
    """Number of data."""
    given: tuple[str, ...] = ()
    """Conditions and latent sites to change after z is drawn, as in y=7 or c=@c.npy."""
    what: Literal["mean", "sample"] = "mean"
    """The numbers to write: means of p(x | z), or draws from it."""
    out: Path | None = None
    """A .npy, .npz or .csv file for the numbers; of sound also .wav, of piano rolls .mid."""
    seed: int = 0
    """Seeds the draws."""

    def __call__(self) -> None:
        from ...evaluate import reconstruct
        from ...nn import followed
        from ...plot import plot_reconstructions

        check_out(self.out, AND_SOUND)
        run = self.opened()
        if isinstance(run.recipe, RelativeRecipe):
            relatives.reconstruct(self, run)
            return
        check_sound(self.out, run.recorded.data)
        vae = run.model(self.device)
        split, *_ = self.rows(run, vae)
        count = at_least_one(self.num_data)
        given = given_values(run, vae, self.given)
        figure = plot_reconstructions(vae, split, count, given=given, seed=self.seed)
        save_plot(figure, run.path, "reconstructions", run.title)
        if self.out is not None:
            seen = split.freeze(self.seed).take(split.spread(count))
            x = reconstruct(vae, seen, self.what, given=given, seed=self.seed).cpu()
            if self.out.suffix.lower() == ".mid":  # pieces end where their data do
                x = x.where(followed(seen.rows(slice(None)).cpu()), nan)
            write_data(self.out, x.numpy(), run.recorded.form, keys_of(seen), self.what)
