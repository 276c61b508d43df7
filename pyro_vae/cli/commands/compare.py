from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ...runs.records import to_json
from ..groups import Measured, measured, print_ranking, ranking, runs_in, to_best
from ..output import at_least_one
from ..shared import Command, DataDir, Device, SplitName


@dataclass(kw_only=True)
class Compare(Command):
    r"""Reports by how many nats one run beats others on the same test data, with errors.

    Runs that differ in their seed only are one setting: errors are then of seeds and data.
    """

    runs: Positional[tuple[Path, ...]]
    """The folders of two or more runs, or folders of runs, such as that of a sweep."""
    split: SplitName = "test"
    """The split to use."""
    num_samples: int = 500
    """Importance samples per datum."""
    seed: int = 0
    """Seeds the samples."""
    json: bool = False
    """Print one JSON object."""
    device: Device = "auto"
    data_dir: DataDir = None

    def __call__(self) -> None:
        from ...evaluate import compare

        at_least_one(self.num_samples, "--num-samples")
        paths = runs_in(self.runs)
        if len(paths) < 2:
            raise ValueError(f"Expected two or more runs to compare; got {len(paths)}.")
        found = measured(
            paths,
            self.num_samples,
            self.data_dir,
            split=self.split,
            seed=self.seed,
            device=self.device,
        )
        groups = found.groups()
        if len(groups) < len(paths):
            self.report_groups(found, groups)
            return
        names = [str(path) for path in paths]
        if len(names) > 2:
            self.print_ranking(names, found)
            return
        result = compare(found.values[0], found.values[1], data=found.record)
        if self.json:
            kinds = {str(path): kind for path, kind in found.densities.items()}
            record = {"a": names[0], "b": names[1], **result.record()}
            print(to_json(record | ({"densities": kinds} if kinds else {})))
            return
        print(result.sentence(*names))
        for path, kind in found.densities.items():
            print(f"log p(x) of {path}: {kind}.")
        if result.bits_per_dim is not None:
            bits, few = abs(result.bits_per_dim), "fewer" if result.bits_per_dim > 0 else "more"
            print(f"{names[1]} needs {bits:.5f} bits per dimension {few} than {names[0]}.")

    def report_groups(self, found: Measured, groups: "dict[str, tuple[Any, list[Path]]]") -> None:
        r"""Reports settings, each of which was trained with several seeds."""
        from ...evaluate import compare_groups

        record = ranking(found)
        if self.json:
            print(to_json(record))
            return
        print_ranking(record)
        if len(groups) > 1:
            best, second = (row["setting"] for row in record["settings"][:2])
            print(compare_groups(groups[second][0], groups[best][0]).sentence(second, best))

    def print_ranking(self, names: list[str], found: Measured) -> None:
        r"""Prints every run against the best one, by paired differences."""
        from ...evaluate import Mean, compare

        values, record = found.values, found.record
        order = sorted(range(len(values)), key=lambda i: -float(values[i].mean()))
        best, rows = order[0], []
        for i in order:
            gap = None if i == best else compare(values[best], values[i], data=record).record()
            value, se = Mean.of(values[i])
            row = {"run": names[i], "log_marginal": value, "se": se, "to_best": gap}
            rows.append(row | {"density": found.densities.get(found.paths[i])})
        if self.json:
            print(to_json({"split": self.split, "num_data": len(values[0]), "runs": rows}))
            return
        width = max(map(len, names))
        print(f"log p(x) of {len(values[0])} {self.split} data, in nats per datum:")
        for row in rows:
            kind = f"  {row['density']}" if row["density"] else ""
            figure = f"{row['log_marginal']:10.3f} +- {row['se']:.3f}{kind}"
            print(f"  {row['run']:{width}s}  {figure}  {to_best(row['to_best'], 'se')}")
