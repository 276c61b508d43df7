from dataclasses import dataclass
from pathlib import Path

from ...writing import write_text
from ..output import at_least_one, check_out
from ..shared import OnAnyRows


@dataclass(kw_only=True)
class Explore(OnAnyRows):
    r"""Writes a page on which to explore latent space: one HTML file, which needs no server.

    A map of the data, what any point of it decodes to, sliders of the features, ways between
    points, and an encoder for what you draw. Open it in a browser.
    """

    out: Path | None = None
    """The .html file; by default explore.html in the folder of the run."""
    max_data: int = 2000
    """How many data to show, spread evenly over the rows."""
    grid: bool = False
    """Decode a grid of points beforehand instead of taking the model along."""
    seed: int = 0
    """Seeds what is drawn for the page."""

    def __call__(self) -> None:
        from ...explore import explorer_page

        check_out(self.out, (".html",))
        count = at_least_one(self.max_data, "--max-data")
        run = self.opened()
        out = self.out or run.path / "explore.html"
        vae = run.model(self.device)
        split, *_ = self.rows(run, vae)
        page = explorer_page(
            vae, split, count, title=run.title, run=str(run.path), grid=self.grid, seed=self.seed
        )
        write_text(out, page)
        print(f"{out} ({len(page) / 1e6:.1f} MB)")
