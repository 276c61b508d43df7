"""Published results, trained again with the settings of their papers.

    python scripts/reproduce.py --list                  # what there is, and the hours it takes
    python scripts/reproduce.py ppca --full             # the paper's schedule
    python scripts/reproduce.py iwae-one-layer --short  # one that a CPU can do, and says so; or
    python scripts/reproduce.py iwae-one-layer --medium # one between these, where there is one
    python scripts/reproduce.py iwae-one-layer --full --variants k=1 --seeds 2
    python scripts/reproduce.py --page                  # docs/reproductions.md from the results

Models are trained by `pv.fit_many` in folders of their own, below --runs: what was interrupted
goes on where it was, and what is complete is not trained again. All test data are evaluated. The
result is a JSON file, docs/reproductions/TARGET-SCHEDULE.json unless --out says otherwise.
`scripts/targets.py` has the targets, `scripts/judges.py` how they are judged.
"""

import argparse
import json
import math
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from judges import JUDGES
from machine import machine
from results import KINDS, RESULTS, name_of, verdict, write_page
from targets import TARGETS, Schedule, Target

import pyro_vae as pv
from pyro_vae.config import override, read_recipe

BY_DATUM = "by-datum.npz"
PACKAGES = ("pyro_vae", "torch", "pyro-ppl", "numpy", "scikit-learn")


def values_of(target: Target, schedule: Schedule, variant: str) -> dict:
    """All settings of a variant: a recipe, or arguments of a function with `data` and `train`."""
    settings = {**target.settings, **target.variants[variant].settings, **schedule.settings}
    base = {} if callable(target.base) else target.base
    return override(read_recipe(base) if isinstance(base, str) else base, settings)


def trained(target: Target, values: dict, seeds, folder: Path) -> list:
    """The trained models, each with its data."""
    pairs = []
    for group in [[seed] for seed in seeds] if target.own_data else [seeds]:
        own_seed = {"data.seed": group[0]} if target.own_data else {}
        values = override(values, own_seed)
        data = target.load(**values["data"])
        train, options = dict(values.get("train", {})), {"seeds": group, "out": folder}
        if callable(target.base):
            own = {k: v for k, v in values.items() if k not in ("data", "train")}
            make = partial(target.base, **own)
            models = pv.fit_many(make, data.train, valid=data.valid, **options, **train)
        else:
            models = pv.fit_many(values, data, **options)
        for model in models:
            if model.error is not None:
                raise model.error
            pairs.append((model, data))
    return pairs


def run_of(target: Target, values: dict, pairs) -> dict:
    """What is worth knowing about the training of a variant."""
    rows = [[row for row in model.history.rows if "seconds" in row] for model, _ in pairs]
    known = {
        pv.data.fingerprint(split): f"{split.source}, {len(split)} rows"
        for _, data in pairs
        for split in (data.train, data.test)
        if split is not None
    }
    found = {"function": target.base.__name__} if callable(target.base) else {}
    return {
        "settings": found | values,
        "data": [{"name": name, "sha256": digest} for digest, name in known.items()],
        "seeds": [model.seed for model, _ in pairs],
        "steps": max(model.history.rows[-1]["step"] for model, _ in pairs),
        "seconds of training": round(sum(of[-1]["seconds"] for of in rows), 1),
    }


def reproduce(name: str, kind: str, seeds: int, variants, runs: Path) -> dict:
    """Trains and judges the variants of a target; returns the result as JSON values."""
    target, short = TARGETS[name], kind != "full"
    schedule: Schedule = getattr(target, kind)
    folder, figures, arrays, about = runs / f"{name}-{kind}", [], {}, {}
    for variant in variants or schedule.variants or target.variants:
        values = values_of(target, schedule, variant)
        pairs = trained(target, values, range(seeds or schedule.seeds), folder / variant)
        about[variant], goals = run_of(target, values, pairs), target.variants[variant].goals
        begun = time.perf_counter()
        for figure in JUDGES[target.judge](pairs, schedule.samples, folder / variant):
            row = {"variant": variant, "figure": figure.name, "unit": figure.unit}
            row |= figure.summary()
            row |= judged(row["value"], goals.get(figure.name) or figure.published, short)
            figures.append(row)
            print(f"{variant}  {figure.name}: {row['value']:.4f}  {row['verdict']}", flush=True)
            if figure.values.dim() == 2:
                arrays[f"{variant}: {figure.name}"] = figure.values.numpy()
        about[variant]["seconds of evaluation"] = round(time.perf_counter() - begun, 1)
        np.savez(folder / BY_DATUM, **(kept(folder) | arrays))
    chosen = [f"--seeds {seeds}"] * bool(seeds)
    chosen += [f"--variants {' '.join(variants)}"] * bool(variants)
    return {
        "target": name,
        "command": " ".join(["python scripts/reproduce.py", name, f"--{kind}", *chosen]),
        "title": target.title,
        "citation": target.citation,
        "schedule": kind,
        "importance samples": schedule.samples,
        "figures": plain(figures + differences(name, kind, arrays, runs)),
        "differs from the paper in": [*schedule.differs, *target.differs],
        "runs": about,
        "machine": machine(*PACKAGES),
    }


def judged(value: float, goal, short: bool) -> dict:
    published, tolerance = goal or (None, None)
    found = {"published": published, "tolerance": tolerance}
    return found | {"verdict": verdict(value, published, tolerance, short)}


def kept(folder: Path) -> dict:
    """The values by seed and datum that earlier calls have left."""
    file = folder / BY_DATUM
    return dict(np.load(file)) if file.is_file() else {}


def differences(name: str, kind: str, arrays: dict, runs: Path) -> list[dict]:
    """The contrasts of which both sides are there, paired over the data."""
    rows = []
    for contrast in TARGETS[name].contrasts:
        other, _, a = contrast.a.rpartition("/")
        there = kept(runs / f"{other}-{kind}") if other else arrays
        keys = f"{a}: {contrast.figure}", f"{contrast.b}: {contrast.figure}"
        if keys[0] not in there or keys[1] not in arrays:
            continue
        pair = torch.from_numpy(there[keys[0]]), torch.from_numpy(arrays[keys[1]])
        difference = pv.evaluate.compare_groups(*pair).difference
        row = {"variant": f"{contrast.b} less {contrast.a}", "figure": contrast.figure}
        row |= {"unit": "%" if contrast.figure.startswith("accuracy") else "nats"}
        row |= {"value": float(difference), "se": difference.se}
        rows.append(row | judged(float(difference), contrast.goal, kind != "full"))
    return rows


def plain(value):
    """JSON values, with null for what is not finite and no digits beyond the sixth."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def show_targets() -> None:
    for name, target in TARGETS.items():
        there = [(kind, getattr(target, kind)) for kind in KINDS if getattr(target, kind)]
        hours = ", ".join(f"--{kind} {schedule.hours:g} h" for kind, schedule in there)
        hours += " of one core"
        print(f"{name:18s}{target.title}\n{'':18s}{', '.join(target.variants)}\n{'':18s}{hours}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("target", nargs="?", choices=TARGETS)
    which = parser.add_mutually_exclusive_group()
    words = (
        "the paper's schedule",
        "one that a CPU can do in an hour",
        "a short one, the default",
    )
    for kind, text in zip(KINDS, words):
        which.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=text)
    add("--seeds", type=int, default=0, help="how many; by default the schedule's")
    add(
        "--variants", nargs="+", default=(), help="some of the target's; by default the schedule's"
    )
    add("--out", type=Path, help="the JSON file")
    add("--runs", type=Path, default=Path("runs/reproductions"), help="where models are kept")
    add("--list", action="store_true", help="shows the targets")
    add("--page", action="store_true", help="writes docs/reproductions.md")
    args = parser.parse_args()
    if args.list or args.page:
        return show_targets() if args.list else write_page(TARGETS)
    if args.target is None:
        parser.error("Expected a target, --list or --page; got none of them.")
    known = TARGETS[args.target].variants
    if strange := [name for name in args.variants if name not in known]:
        parser.error(f"Expected variants among {', '.join(known)}; got {', '.join(strange)}.")
    kind = args.kind or "short"
    if getattr(TARGETS[args.target], kind) is None:
        parser.error(f"Expected --short or --full; {args.target} has no {kind} schedule.")
    result = reproduce(args.target, kind, args.seeds, args.variants, args.runs)
    out = args.out or RESULTS / name_of(args.target, kind)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{out} has the result.")


if __name__ == "__main__":
    sys.exit(main())
