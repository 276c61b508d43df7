r"""Runs of one setting and several seeds, measured on the same data and ranked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runs import RunFolder
from ..runs.records import settings_of, to_json
from ..writing import write_text
from .output import announce

if TYPE_CHECKING:
    from torch import Tensor

RANKING, PICTURE = "sweep.json", "sweep.png"


@dataclass
class Measured:
    r"""log p(x) of every datum under every run.

    Attributes:
        paths: The folders of the runs.
        values: log p(x) of each, of shape `(N,)`.
        record: The record of the data.
        split: Their split.
    """

    paths: list[Path]
    values: "list[Tensor]"
    record: dict[str, Any]
    split: str

    def groups(self) -> "dict[str, tuple[Tensor, list[Path]]]":
        r"""The runs by what they have in common: all settings but the seed."""
        import torch

        found: dict[str, list[int]] = {}
        seeds: dict[str, set[int]] = {}
        for i, path in enumerate(self.paths):
            values = settings_of(RunFolder.open(path).recipe)
            rest = {k: v for k, v in values.items() if k not in ("seed", "name", "device")}
            key = json.dumps(rest, sort_keys=True)
            if values["seed"] in seeds.setdefault(key, set()):  # the same model again
                key = f"{key} {i}"
            seeds.setdefault(key, set()).add(values["seed"])
            found.setdefault(key, []).append(i)
        groups: dict[str, tuple[Tensor, list[Path]]] = {}
        for members in found.values():
            paths = [self.paths[i] for i in members]
            name = self.name_of(paths)
            while name in groups:
                name += ", again"
            groups[name] = torch.stack([self.values[i] for i in members]), paths
        return groups

    def name_of(self, paths: Sequence[Path]) -> str:
        r"""What the names of runs have in common: their setting, with the folder if there are
        several."""
        recipe = RunFolder.open(paths[0]).recipe.name
        if "seed=" not in paths[0].name:
            return str(paths[0]) if len(paths) == 1 else f"{recipe} ({len(paths)} seeds)"
        setting = paths[0].name.rpartition("seed=")[0].rstrip(",")
        if len({path.parent for path in self.paths}) > 1:
            return str(paths[0].parent / setting)
        return setting or recipe


def runs_in(paths: Sequence[Path]) -> list[Path]:
    r"""The runs: those in a folder of runs for the folder itself."""
    found: list[Path] = []
    for path in paths:
        inside = [run.path for run in RunFolder.below(path)]
        found += inside or [path]
    return found


def measured(
    paths: Sequence[Path],
    num_samples: int,
    data_dir: Path | None,
    *,
    split: Any = "test",
    seed: int = 0,
    device: str = "auto",
) -> Measured:
    r"""log p(x) of every datum under every run, which must be about the same data."""
    from ..checks import take
    from ..data import fingerprint
    from ..evaluate import check_comparable, log_marginal, log_probs
    from ..evaluate.summary import seen_elements
    from ..gallery import Relative
    from ..runs.data import split_of

    first: dict[str, Any] | None = None
    values = []
    announce(f"Measuring {len(paths)} runs with {num_samples} samples per datum.")
    for path in paths:
        run = RunFolder.open(path)
        dataset = run.dataset(data_dir, split)
        vae = run.model(device)
        rows = split_of(dataset, split).forgetting(vae.latents)
        own = isinstance(vae, Relative)
        support = vae.support if own else vae.likelihood.support
        record = {**dataset.record(), "discrete": support.is_discrete}
        record["sha256"] = {**record["sha256"], split: fingerprint(rows)}
        record["x_shape"] = list(rows.x_shape)  # that of training may be a chunk's
        first = first or record
        check_comparable(first, record, split)
        frozen = take(vae, rows.freeze(seed))
        record["elements"] = seen_elements(frozen) / len(frozen)
        if own and vae.density in ("estimate", "stochastic upper bound"):
            announce(
                f"log p(x) of {path} has an estimate of log Z, whose error is not among those "
                "below: see `pyro-vae evaluate`."
            )
        values.append(
            log_probs(vae, frozen, seed=seed)
            if own
            else log_marginal(vae, frozen, num_samples, seed=seed).log_marginal
        )
    assert first is not None
    return Measured([*paths], values, first, split)


def save_ranking(
    out: Path, found: Measured, valid: Mapping[str, float], failed: Mapping[str, str]
) -> dict[str, Any]:
    r"""Writes a ranking and its picture into the folder of a sweep, and returns the ranking."""
    from ..plot.sweep import plot_ranking

    record = ranking(found, valid) | {"stopped": dict(failed)}
    write_text(out / RANKING, to_json(record) + "\n")
    plot_ranking(record, out / PICTURE)
    return record | {"picture": str(out / PICTURE)}


def ranking(found: Measured, valid: Mapping[str, float] | None = None) -> dict[str, Any]:
    r"""Ranks settings on the test data, with what validation says beside them."""
    from ..evaluate import rank

    groups, valid = found.groups(), valid or {}
    rows = rank({name: values for name, (values, _) in groups.items()})
    for row in rows:
        paths = groups[row["setting"]][1]
        bounds = [valid[path.name] for path in paths if path.name in valid]
        row["runs"] = [str(path) for path in paths]
        row["valid_elbo"] = sum(bounds) / len(bounds) if bounds else None
    validated = [row for row in rows if row["valid_elbo"] is not None]
    best = max(validated, key=lambda row: row["valid_elbo"], default=None)
    return {
        "split": found.split,
        "num_data": len(found.values[0]),
        "settings": rows,
        "best_by_validation": None if best is None else best["setting"],
    }


def to_best(gap: Mapping[str, Any] | None, se: str) -> str:
    r"""How far a row of a ranking is from the best, with the error that is called `se`."""
    if gap is None:
        return "best"
    unclear = " (no significant difference)" if gap["p_value"] > 0.01 else ""
    return f"{gap['difference']:+.3f} +- {gap[se]:.3f} to the best{unclear}"


def print_ranking(record: Mapping[str, Any]) -> None:
    r"""Prints every setting, and how far it is from the best."""
    rows = record["settings"]
    width = max(len(row["setting"]) for row in rows)
    print(
        f"log p(x) of {record['num_data']} {record['split']} data in nats per datum; errors are "
        "of seeds and data together:"
    )
    for row in rows:
        note = to_best(row.get("to_best"), "difference_se")
        bound = row["valid_elbo"]
        shown = "" if bound is None else f"  validation ELBO {bound:.3f}"
        seeds = f"{row['num_seeds']} seed{'s' if row['num_seeds'] > 1 else ''}"
        print(
            f"  {row['setting']:{width}s}  {row['log_marginal']:10.3f} +- "
            f"{row['log_marginal_se']:.3f}  {seeds}{shown}  {note}"
        )
    for name, why in record.get("stopped", {}).items():
        print(f"  {name} stopped: {why}")
    if record.get("best_by_validation") and len(rows) > 1:
        print(f"Best by validation: {record['best_by_validation']}.")
    if record.get("picture"):
        print(f"Plot: {record['picture']}")
