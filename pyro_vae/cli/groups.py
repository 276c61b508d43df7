r"""Runs of one setting and several seeds, measured on the same data and ranked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..runs import RunFolder
from ..runs.records import settings_of, to_json
from ..writing import write_text
from .output import announce

if TYPE_CHECKING:
    from torch import Tensor

RANKING, PICTURE = "sweep.json", "sweep.png"


class Other(NamedTuple):
    r"""What a relative without log p(x) has.

    Attributes:
        lacks: Why it has none.
        squared_error: That of a reconstruction of each datum, per element, of shape `(N,)`; None
            without one.
    """

    lacks: str
    squared_error: "Tensor | None"


@dataclass
class Measured:
    r"""log p(x) of every datum under every run that has it, and what the others have.

    Attributes:
        paths: The folders of the runs that have it.
        values: log p(x) of each, of shape `(N,)`.
        record: The record of the data.
        split: Their split.
        num_data: How many data there are.
        densities: What log p(x) is, by run, where a relative has it.
        others: Runs of relatives without log p(x).
    """

    paths: list[Path]
    values: "list[Tensor]"
    record: dict[str, Any]
    split: str
    num_data: int = 0
    densities: dict[Path, str] = field(default_factory=dict)
    others: "dict[Path, Other]" = field(default_factory=dict)

    def groups(self) -> "dict[str, tuple[Tensor, list[Path]]]":
        r"""The runs with log p(x) by what they have in common: all settings but the seed."""
        import torch

        values = dict(zip(self.paths, self.values))
        return {
            name: (torch.stack([values[path] for path in paths]), paths)
            for name, paths in self.named(self.paths).items()
        }

    def named(self, runs: Sequence[Path]) -> dict[str, list[Path]]:
        r"""Runs by what they have in common: all settings but the seed."""
        found: dict[str, list[Path]] = {}
        seeds: dict[str, set[int]] = {}
        for i, path in enumerate(runs):
            values = settings_of(RunFolder.open(path).recipe)
            rest = {k: v for k, v in values.items() if k not in ("seed", "name", "device")}
            key = json.dumps(rest, sort_keys=True)
            if values["seed"] in seeds.setdefault(key, set()):  # the same model again
                key = f"{key} {i}"
            seeds.setdefault(key, set()).add(values["seed"])
            found.setdefault(key, []).append(path)
        groups: dict[str, list[Path]] = {}
        for paths in found.values():
            name = self.name_of(paths)
            while name in groups:
                name += ", again"
            groups[name] = paths
        return groups

    def name_of(self, paths: Sequence[Path]) -> str:
        r"""What the names of runs have in common: their setting, with the folder if there are
        several."""
        recipe = RunFolder.open(paths[0]).recipe.name
        if "seed=" not in paths[0].name:
            return str(paths[0]) if len(paths) == 1 else f"{recipe} ({len(paths)} seeds)"
        setting = paths[0].name.rpartition("seed=")[0].rstrip(",")
        if len({path.parent for path in (*self.paths, *self.others)}) > 1:
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

    found = Measured([], [], {}, split)
    announce(f"Measuring {len(paths)} runs with {num_samples} samples per datum.")
    for path in paths:
        run = RunFolder.open(path)
        dataset = run.dataset(data_dir, split)
        vae = run.model(device)
        rows = split_of(dataset, split).forgetting(vae.latents)
        record = dataset.record()
        record["sha256"] = {**record["sha256"], split: fingerprint(rows)}
        record["x_shape"] = list(rows.x_shape)  # that of training may be a chunk's
        own = isinstance(vae, Relative)
        if not own or vae.density != "none":
            support = vae.support if own else vae.likelihood.support
            record["discrete"] = support.is_discrete
        check_comparable(found.record or record, record, split)
        frozen = take(vae, rows.freeze(seed))
        found.num_data = len(frozen)
        record["elements"] = seen_elements(frozen) / len(frozen)
        if "discrete" not in found.record:
            found.record = record
        if "discrete" not in record:
            found.others[path] = other(vae, frozen, seed)
            continue
        found.paths.append(path)
        if own:
            found.densities[path] = vae.density
            if vae.density in ("estimate", "stochastic upper bound"):
                announce(
                    f"log p(x) of {path} has an estimate of log Z, whose error is not among those "
                    "below: see `pyro-vae evaluate`."
                )
            found.values.append(log_probs(vae, frozen, seed=seed))
        else:
            estimate = log_marginal(vae, frozen, num_samples, seed=seed)
            found.values.append(estimate.log_marginal)
    return found


def other(model: Any, split: Any, seed: int) -> Other:
    r"""What a relative without log p(x) has."""
    import torch

    from ..evaluate import evaluate_relative

    by_datum: dict[str, Any] = {}
    can = evaluate_relative(model, split, seed=seed, by_datum=by_datum)["can"]
    error = by_datum.get("squared_error")
    return Other(can["log_prob"], None if error is None else torch.from_numpy(error))


def save_ranking(
    out: Path, found: Measured, valid: Mapping[str, float], failed: Mapping[str, str]
) -> dict[str, Any]:
    r"""Writes a ranking and its picture into the folder of a sweep, and returns the ranking."""
    from ..plot.sweep import plot_ranking

    record = ranking(found, valid) | {"stopped": dict(failed)}
    write_text(out / RANKING, to_json(record) + "\n")
    if not record["settings"]:
        return record
    plot_ranking(record, out / PICTURE)
    return record | {"picture": str(out / PICTURE)}


def ranking(found: Measured, valid: Mapping[str, float] | None = None) -> dict[str, Any]:
    r"""Ranks settings on the test data, with what validation says beside them."""
    from ..evaluate import rank

    groups, valid = found.groups(), valid or {}
    rows = rank({name: values for name, (values, _) in groups.items()})
    for row in rows:
        paths = groups[row["setting"]][1]
        row["runs"] = [str(path) for path in paths]
        row["density"] = found.densities.get(paths[0])
        row["valid_elbo"] = validated(paths, valid)
    measured_rows = [row for row in rows if row["valid_elbo"] is not None]
    best = max(measured_rows, key=lambda row: row["valid_elbo"], default=None)
    alike = len({row["density"] for row in rows}) == 1
    return {
        "split": found.split,
        "num_data": found.num_data,
        "settings": rows,
        "others": others(found, valid),
        "best_by_validation": best["setting"] if best and alike else None,
    }


def to_best(gap: Mapping[str, Any] | None, se: str) -> str:
    r"""How far a row of a ranking is from the best, with the error that is called `se`."""
    if gap is None:
        return "best"
    unclear = " (no significant difference)" if gap["p_value"] > 0.01 else ""
    return f"{gap['difference']:+.3f} +- {gap[se]:.3f} to the best{unclear}"


def validated(paths: Sequence[Path], valid: Mapping[str, float]) -> float | None:
    r"""The mean over runs of what validation measured, if it did."""
    scores = [valid[path.name] for path in paths if path.name in valid]
    return sum(scores) / len(scores) if scores else None


def others(found: Measured, valid: Mapping[str, float]) -> list[dict[str, Any]]:
    r"""The settings without log p(x), with what they have, which ranks nothing."""
    import torch

    from ..evaluate.groups import spread

    rows = []
    for name, paths in found.named([*found.others]).items():
        each = [found.others[path] for path in paths]
        row = {"setting": name, "num_seeds": len(paths), "runs": [str(path) for path in paths]}
        errors = [one.squared_error for one in each if one.squared_error is not None]
        if errors:
            values = torch.stack(errors).double()
            row |= spread(values.mean(0), [values]).mean.record("squared_error")
        rows.append(row | {"lacks": each[0].lacks, "valid_score": validated(paths, valid)})
    return rows


def print_ranking(record: Mapping[str, Any]) -> None:
    r"""Prints every setting, and how far it is from the best."""
    rows = record["settings"]
    width = max((len(row["setting"]) for row in rows), default=0)
    if rows:
        print(
            f"log p(x) of {record['num_data']} {record['split']} data in nats per datum; errors "
            "are of seeds and data together:"
        )
    for row in rows:
        note = to_best(row.get("to_best"), "difference_se")
        bound = row["valid_elbo"]
        score = "ELBO" if row["density"] is None else "log p(x)"
        shown = "" if bound is None else f"  validation {score} {bound:.3f}"
        kind = f"  {row['density']}" if row["density"] else ""
        print(
            f"  {row['setting']:{width}s}  {row['log_marginal']:10.3f} +- "
            f"{row['log_marginal_se']:.3f}{kind}  {_seeds(row)}{shown}  {note}"
        )
    print_others(record)
    for name, why in record.get("stopped", {}).items():
        print(f"  {name} stopped: {why}")
    if record.get("best_by_validation") and len(rows) > 1:
        print(f"Best by validation: {record['best_by_validation']}.")
    if record.get("picture"):
        print(f"Plot: {record['picture']}")


def print_others(record: Mapping[str, Any]) -> None:
    r"""Prints the settings without log p(x)."""
    if record["others"]:
        print(f"Without log p(x), on {record['num_data']} {record['split']} data:")
    for row in record["others"]:
        line = f"  {row['setting']}  {_seeds(row)}"
        if "squared_error" in row:
            value, error = row["squared_error"], row["squared_error_se"]
            line += f"  squared error of a reconstruction {value:.4f} +- {error:.4f}"
        if row["valid_score"] is not None:
            line += f"  validation score {row['valid_score']:.3f}"
        print(f"{line}  {row['lacks']}")


def _seeds(row: Mapping[str, Any]) -> str:
    return f"{row['num_seeds']} seed{'s' if row['num_seeds'] > 1 else ''}"
