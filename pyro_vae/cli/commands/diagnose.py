from dataclasses import dataclass
from pathlib import Path

from ...runs.records import to_json
from ...writing import write_text
from ..output import announce, at_least_one, check_out
from ..shared import OnRows


@dataclass(kw_only=True)
class Diagnose(OnRows):
    r"""Reports how good a run is, how certain that is, what limits it and what to try.

    Prints one page, and writes it with plots as HTML.
    """

    num_samples: int = 500
    """Importance samples per datum, for all data."""
    num_data: int = 100
    """Number of data for annealed importance sampling and the gap ledger."""
    num_temperatures: int = 500
    """Temperatures of annealed importance sampling."""
    num_steps: int = 500
    """Optimization steps of the gap ledger."""
    seed: int = 0
    """Seeds everything."""
    html: Path | None = None
    """The HTML file (default: RUN/diagnosis.html)."""
    json: bool = False
    """Print one JSON object."""

    def __call__(self) -> None:
        from ... import report
        from ...checks import take
        from ...evaluate import diagnose
        from ...programs import guide_name, wants_rows
        from ...ranks import here
        from ...runs.data import split_of

        check_out(self.html, (".html", ".htm"), "--html")
        run = self.opened()
        vae = run.model(self.device)
        if wants_rows(vae):
            raise ValueError(
                f"Expected a posterior for any data, including simulated ones; got "
                f"{guide_name(vae)}. Use pyro-vae evaluate {self.run} --split train."
            )
        dataset = run.dataset(self.data_dir, self.split, "train")
        rows = split_of(dataset, self.split).forgetting(vae.latents)
        rows = take(vae, rows, skip_checks=run.recipe.train.skip_checks)
        announce(
            f"Diagnosing {len(rows)} data: importance sampling, annealing, the gap ledger, "
            "calibration. This takes a few minutes."
        )
        found = diagnose(
            vae,
            rows,
            dataset.train.forgetting(vae.latents),
            num_samples=at_least_one(self.num_samples, "--num-samples"),
            num_data=at_least_one(self.num_data),
            num_temperatures=self.num_temperatures,
            num_steps=self.num_steps,
            seed=self.seed,
        )
        title = f"{run.recipe.name}, {dataset.name} {self.split} data"
        figures = report.pictures(vae, rows, found, run.path / "metrics.jsonl")
        if here().rank:
            return
        path = self.html or run.path / "diagnosis.html"
        write_text(path, report.html(found, title, figures))
        if self.json:
            print(to_json({"data": dataset.name, "split": self.split, **found.record()}))
            return
        print(report.text(found, title))
        print(f"\nPage with plots: {path}")
