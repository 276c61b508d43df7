from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...config import RelativeRecipe
from ...runs import RunFolder
from .. import relatives
from ..given import given_values
from ..output import AND_SOUND, at_least_one, check_out, check_sound, save_plot, write_data
from ..shared import OnRows


@dataclass(kw_only=True)
class Sample(OnRows):
    r"""Draws and plots new data from the model; --out also writes the numbers.

    Without a value of its condition, it draws under every class, or, of images with given
    regions, completions of data.
    """

    takes_relatives: ClassVar[bool] = True

    num_samples: int = 64
    """Number of data."""
    given: tuple[str, ...] = ()
    """Conditions and values of latent sites, as in y=3, c=0.5,1 or c=@c.npy."""
    hold: tuple[str, ...] = ()
    """Latent sites to draw once a row, as in z2, while the others are drawn for each sample."""
    what: Literal["sample", "mean"] = "sample"
    """The numbers to write: draws from p(x | z), or its means."""
    out: Path | None = None
    """A .npy, .npz or .csv file for the numbers; of sound also .wav, of piano rolls .mid."""
    seed: int = 0
    """Seeds the draws."""

    def __call__(self) -> None:
        from ...plot import plot_samples
        from ...views import sample

        check_out(self.out, AND_SOUND)
        run = self.opened()
        if isinstance(run.recipe, RelativeRecipe):
            relatives.sample(self, run)
            return
        check_sound(self.out, run.recorded.data)
        vae = run.model(self.device)
        count = at_least_one(self.num_samples, "--num-samples")
        given = given_values(run, vae, self.given)
        pictured = run.recorded.form.get("picture")
        known = run.recipe.data.known
        labels = [name for name in vae.drawn_under if known.get(name) == ("label",)]
        lacking = [name for name in vae.drawn_under if name not in given]
        if self.hold:
            self.held(run, vae, given)
        elif len(lacking) == 1 and lacking == labels:
            self.classes(run, vae, lacking[0], given)
        elif lacking and pictured:
            self.completions(run, vae)
        else:
            split = self.rows(run, vae)[0] if pictured else None
            figure = plot_samples(vae, count, seed=self.seed, split=split, **given)
            save_plot(figure, run.path, "samples", run.title)
            if self.out is not None:
                self.write(run, sample(vae, count, self.what, seed=self.seed, **given), {})

    def held(self, run: RunFolder, vae: Any, given: Mapping[str, Any]) -> None:
        r"""Rows that share some latent sites."""
        from ...plot import plot_held
        from ...views import sample_held

        draws = self.columns(8)
        figure = plot_held(vae, self.hold, 8, draws, seed=self.seed, **given)
        save_plot(figure, run.path, "held", run.title)
        if self.out is not None:
            found = sample_held(vae, self.hold, 8, draws, self.what, seed=self.seed, **given)
            self.write(run, found.x.flatten(0, 1), {"held": in_rows(range(8), draws)})

    def classes(self, run: RunFolder, vae: Any, name: str, given: Mapping[str, Any]) -> None:
        r"""Rows of one class each."""
        import torch

        from ...plot import plot_classes
        from ...views import sample_under

        form = run.recorded.form
        count = int(form["known"][name][0])
        names = [*form["classes"]][:count] or [str(i) for i in range(count)]
        draws = self.columns(count)
        figure = plot_classes(vae, name, names, draws, seed=self.seed, **given)
        save_plot(figure, run.path, "classes", run.title)
        if self.out is not None:
            rows = {name: torch.eye(count)}
            x = sample_under(vae, rows, draws, self.what, seed=self.seed, **given)
            self.write(run, x.flatten(0, 1), {name: in_rows(names, draws)})

    def completions(self, run: RunFolder, vae: Any) -> None:
        r"""Rows of one datum each, given what is known of it."""
        from ...plot import plot_completions
        from ...views import sample_under

        split, *_ = self.rows(run, vae)
        draws = self.columns(8)
        figure = plot_completions(vae, split, 8, draws, seed=self.seed)
        save_plot(figure, run.path, "completions", run.title)
        if self.out is not None:
            seen = split.take(split.spread(8))
            known = {n: seen.known[n] for n in vae.conditions}
            x = sample_under(vae, known, draws, self.what, seed=self.seed)
            self.write(run, x.flatten(0, 1), {"rows": in_rows(seen.row_numbers.tolist(), draws)})

    def columns(self, rows: int) -> int:
        r"""How many draws each row has, so that there are enough in all."""
        return -(-self.num_samples // rows)

    def write(self, run: RunFolder, x: Any, keys: Mapping[str, Any]) -> None:
        assert self.out is not None
        write_data(self.out, x.cpu().numpy(), run.recorded.form, keys, self.what)


def in_rows(names: Any, draws: int) -> Any:
    r"""The name of the row of each draw."""
    import numpy as np

    return np.repeat(np.array([*names]), draws)
