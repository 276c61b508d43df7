from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from ...runs import RunFolder
from ...runs.records import to_json
from ..shared import Command

COLUMNS = {
    "run": "run",
    "recipe": "recipe",
    "data": "data",
    "epochs": "epochs",
    "valid": "validation ELBO",
    "test": "test log p(x)",
    "verdict": "verdict",
}


@dataclass(kw_only=True)
class Runs(Command):
    r"""Lists the runs in a folder with their metrics."""

    folder: Positional[Path] = Path("runs")
    """The folder of the runs."""
    json: bool = False
    """Print one JSON object."""

    def __call__(self) -> None:
        if not self.folder.is_dir():
            raise ValueError(f"Expected a folder of runs; got {self.folder}.")
        rows = [run.summary() for run in RunFolder.below(self.folder)]
        if self.json:
            print(to_json({"runs": rows}))
            return
        if not rows:
            print(f"No runs in {self.folder}.")
            return
        table = [list(COLUMNS.values())]
        table += [["" if row[n] is None else str(row[n]) for n in COLUMNS] for row in rows]
        widths = [max(len(line[j]) for line in table) for j in range(len(COLUMNS))]
        for line in table:
            print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())
