from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ...runs import RunFolder
from ...runs.records import to_json
from ..output import announce, at_least_one
from ..shared import Command, DataDir, Device, SplitName


@dataclass(kw_only=True)
class Compare(Command):
    r"""Reports by how many nats one run beats others on the same test data, with errors."""

    runs: Positional[tuple[Path, ...]]
    """The folders of two or more runs."""
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
        if len(self.runs) < 2:
            raise ValueError(f"Expected two or more runs to compare; got {len(self.runs)}.")
        values, record = self.measured()
        names = [str(path) for path in self.runs]
        if len(values) > 2:
            self.print_ranking(names, values, record)
            return
        found = compare(values[0], values[1], data=record)
        if self.json:
            print(to_json({"a": names[0], "b": names[1], **found._asdict()}))
            return
        print(found.sentence(*names))
        if found.bits_per_dim is not None:
            bits, few = abs(found.bits_per_dim), "fewer" if found.bits_per_dim > 0 else "more"
            print(f"{names[1]} needs {bits:.5f} bits per dimension {few} than {names[0]}.")

    def measured(self) -> tuple[list[Any], dict[str, Any]]:
        r"""log p(x) of every datum under every run, and the record of the data."""
        from ...checks import take
        from ...data import fingerprint
        from ...evaluate import check_comparable, log_marginal
        from ...runs.data import split_of

        sides = []
        for path in self.runs:
            run = RunFolder.open(path)
            dataset = run.dataset(self.data_dir, self.split)
            vae = run.model(self.device)
            rows = split_of(dataset, self.split).forgetting(vae.latents)
            record = {**dataset.record(), "discrete": vae.likelihood.support.is_discrete}
            record["sha256"] = {**record["sha256"], self.split: fingerprint(rows)}
            sides.append((vae, rows, record))
        for _, _, record in sides[1:]:
            check_comparable(sides[0][2], record, self.split)
        announce(f"Comparing {len(sides)} runs with {self.num_samples} samples per datum.")
        values = []
        for vae, rows, _ in sides:
            split = take(vae, rows.freeze(self.seed))
            estimate = log_marginal(vae, split, self.num_samples, seed=self.seed)
            values.append(estimate.log_marginal)
        return values, sides[0][2]

    def print_ranking(self, names: list[str], values: list[Any], record: Any) -> None:
        r"""Prints every run against the best one, by paired differences."""
        from ...evaluate import Mean, compare

        order = sorted(range(len(values)), key=lambda i: -float(values[i].mean()))
        best, rows = order[0], []
        for i in order:
            gap = None if i == best else compare(values[best], values[i], data=record)._asdict()
            value, se = Mean.of(values[i])
            rows.append({"run": names[i], "log_marginal": value, "se": se, "to_best": gap})
        if self.json:
            print(to_json({"split": self.split, "num_data": len(values[0]), "runs": rows}))
            return
        width = max(map(len, names))
        print(f"log p(x) of {len(values[0])} {self.split} data, in nats per datum:")
        for row in rows:
            gap = row["to_best"]
            note = "best"
            if gap is not None:
                note = f"{gap['difference']:+.3f} +- {gap['se']:.3f} to the best"
                note += " (no significant difference)" if gap["p_value"] > 0.01 else ""
            print(
                f"  {row['run']:{width}s}  {row['log_marginal']:10.3f} +- {row['se']:.3f}  {note}"
            )
