"""What training and evaluation cost: ours against stock Pyro, PyTorch, NumPyro and pythae.

    pip install -e '.[bench]'                         # the other contenders
    python scripts/benchmark.py steps                 # all workloads, ten minutes on two cores
    python scripts/benchmark.py steps --workloads digits mnist --rounds 9
    python scripts/benchmark.py many --plot many.png  # several models in one step
    python scripts/benchmark.py race                  # from imports to a test ELBO on MNIST
    python scripts/benchmark.py evaluate              # log p(x), and its floor
    python scripts/benchmark.py scaling               # by batch size, latent size, models, rows

Every contender has a process of its own. They take turns, so that only one computes at a time,
with the same architecture, first parameters, data, batch, Adam and float32. Each number is the
median over the rounds, with the lowest and the highest; ratios are ratios of medians. The floor is
the matrix products of a step, each in the fastest way of several, and the memory traffic of Adam:
`scripts/floors.py` says how both are measured. Run nothing else on the machine meanwhile.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from contenders import CONTENDERS, OF_MANY, WORKLOADS
from machine import machine
from races import RUNNERS
from workers import Job, Stopped, Worker, in_turns

import pyro_vae as pv

PRODUCTS, TRAFFIC = "matrix products", "traffic of Adam"


def job(name, w, steps=0, **more) -> Job:
    """A contender; before the first turn it takes as many steps as in one."""
    steps = steps or w.steps
    arguments = {"contender": name, "workload": asdict(w), "warm": steps, **more}
    return Job("contenders:prepare", arguments, steps)


def chosen(args) -> list:
    return [replace(WORKLOADS[n], device=args.device, tf32=args.tf32) for n in args.workloads]


# --- Steps ---------------------------------------------------------------------------------------


def steps(args) -> dict:
    """The milliseconds of a step."""
    results = {}
    for w in chosen(args):
        print(
            f"{w.name}: x {w.x_shape}, hidden {w.hidden}, z {w.latent_dim}, batch {w.batch_size}"
        )
        few = {"stock SVI": max(w.steps // 10, 5)}
        jobs = {name: job(name, w, few.get(name, 0)) for name in args.contenders}
        results[w.name] = table(in_turns(jobs, args.rounds))
    return results


def sum_of_parts(times) -> tuple[str, list]:
    """Products and traffic together, by what they may be called: a floor if all are above it."""
    if PRODUCTS not in times or TRAFFIC not in times:
        return "", []
    both = [sum(pair) for pair in zip(times[PRODUCTS].ms, times[TRAFFIC].ms)]
    others = [t.median for name, t in times.items() if name not in (PRODUCTS, TRAFFIC)]
    is_floor = statistics.median(both) < min(others, default=math.inf)
    return "floor: products, traffic" if is_floor else "products and traffic", both


def table(times) -> list[dict]:
    """Prints and returns a row for each contender."""
    rows = {name: t.ms for name, t in times.items()}
    parts, both = sum_of_parts(times)
    if both:
        rows[parts] = both
    median = {name: statistics.median(row) for name, row in rows.items()}
    over = "/ floor" if parts.startswith("floor") else "/ both" if both else ""
    heads = ("ms/step", "lowest", "highest", "x stock", over, "start s")
    print(" " * 28 + "".join(f"{head:>10s}" for head in heads))
    found = []
    for name, row in rows.items():
        stock, of = median.get("stock SVI"), times.get(name)
        faster = stock / median[name] if stock else None
        above = median[name] / median[parts] if both else None
        cells = [f"{median[name]:10.4f}{min(row):10.4f}{max(row):10.4f}"]
        cells += [f"{value:10.2f}" if value else " " * 10 for value in (faster, above)]
        cells += [f"{of.start:10.1f}"] if of else []
        print(f"  {name:26s}{''.join(cells)}", flush=True)
        values = {"contender": name, "median_ms": median[name], "ms": row, "times_stock": faster}
        values |= {"over_floor": above, "seconds_to_start": of and of.start}
        found.append(values | {"idle": of and of.idle, "peak_mib": of and of.peak})
    return found


# --- Several models ------------------------------------------------------------------------------

MODELS = (1, 2, 4, 8, 16)
MOST = {"digits": 16, "mnist": 4}  # of the models in one step


def many(args) -> dict:
    """Microseconds of a step of one model, where several share it."""
    results = {}
    for w in chosen(args):
        if w.name not in MOST:
            continue
        w = replace(w, steps=max(w.steps, 100))
        print(f"{w.name}: microseconds a model-step, median (lowest to highest)")
        print(f"  {'models':>8s}" + "".join(f"{name:>32s}" for name in OF_MANY))
        results[w.name] = rows = []
        for count in (n for n in MODELS if n <= MOST[w.name]):
            jobs = {name: job(name, w, count=count) for name in OF_MANY}
            times = in_turns(jobs, args.rounds)
            us = {name: [ms / count * 1e3 for ms in t.ms] for name, t in times.items()}
            cells = [f"{spread(us[name]) if name in us else '':>32s}" for name in OF_MANY]
            print(f"  {count:8d}{''.join(cells)}", flush=True)
            rows.append({"models": count, "us": us})
    if args.plot:
        plot_many(results, args.plot)
    return results


def spread(values, digits=1) -> str:
    low, mid, high = min(values), statistics.median(values), max(values)
    return f"{mid:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def plot_many(results, path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for (name, rows), ax in zip(results.items(), axes[0]):
        for contender in OF_MANY:
            those = [row for row in rows if contender in row["us"]]
            counts = [row["models"] for row in those]
            us = np.array([np.quantile(row["us"][contender], (0, 0.5, 1)) for row in those])
            if len(us):
                (line,) = ax.plot(counts, us[:, 1], "o-", label=contender)
                ax.fill_between(counts, us[:, 0], us[:, 2], color=line.get_color(), alpha=0.2)
        ax.set(title=name, xlabel="models in one step", ylabel="us a model-step", ylim=(0, None))
        ax.set_xscale("log", base=2)
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path)


# --- The race ------------------------------------------------------------------------------------


def race(args) -> dict:
    """Seconds from a fresh process to a test ELBO on static MNIST, one contender at a time."""
    print(f"784-400-50, batch 128, to a test ELBO of {args.target} in {args.max_epochs} epochs")
    print(
        f"  {'':22s}{'to target s':>12s}{'evaluating':>12s}{'epochs':>8s}{'last ELBO':>11s}"
        f"{'first epoch':>13s}{'later, median s':>17s}"
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "race.npz"
        write_race(file)
        for name in args.runners:
            row = run_race(name, file, args)
            if row is None:
                continue
            reached = f"{row['seconds']:.1f}" if row["reached"] else f"not in {row['seconds']:.0f}"
            later = f"{row['later']:17.2f}" if row["later"] else ""
            print(
                f"  {name:22s}{reached:>12s}{row['evaluating']:12.1f}{row['epochs']:8d}"
                f"{row['elbos'][-1]:11.2f}{row['first']:13.1f}{later}",
                flush=True,
            )
            rows.append(row)
    return {"target": args.target, "race": rows}


def write_race(file) -> None:
    """The bits of static MNIST and the first parameters of both networks."""
    data, vae = pv.data.load("static-mnist", quiet=True), WORKLOADS["mnist"].vae()
    arrays = {"train": data.train.stored, "test": data.test.stored}
    arrays = {name: x.reshape(len(x), -1).numpy() for name, x in arrays.items()}
    for name, net in (("encoder", vae.posterior.encoder), ("decoder", vae.likelihood.decoder)):
        linears = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
        for i, linear in enumerate(linears):
            arrays[f"{name}{i}.w"] = linear.weight.detach().numpy()
            arrays[f"{name}{i}.b"] = linear.bias.detach().numpy()
    np.savez(file, **arrays)


def run_race(name, file, args) -> dict | None:
    """Follows a training, with the times at which its epochs are reported."""
    script, limits = str(Path(__file__).resolve().with_name("races.py")), []
    limits += ["--target", str(args.target), "--max-epochs", str(args.max_epochs)]
    worker, elbos, marks, evaluating = Worker(script, name, str(file), *limits), [], [], 0.0
    try:
        while not elbos or (elbos[-1] < args.target and len(elbos) < args.max_epochs):
            said = worker.answer()
            marks.append(time.perf_counter() - worker.started)
            elbos.append(said["elbo"])
            evaluating += said["evaluating"]
    except Stopped as reason:
        print(f"  {name} stopped: {reason}", flush=True)
        return None
    finally:
        worker.close()
    row = {"contender": name, "seconds": marks[-1], "reached": elbos[-1] >= args.target}
    row |= {"evaluating": evaluating, "epochs": len(elbos), "elbos": elbos, "marks": marks}
    later = statistics.median(np.diff(marks).tolist()) if len(marks) > 1 else None
    return row | {"first": marks[0], "later": later}


# --- Evaluation ----------------------------------------------------------------------------------


def evaluate(args) -> dict:
    """The seconds of `log_marginal`, beside the arithmetic that it cannot do without."""
    w, total = WORKLOADS["mnist"], args.data * args.samples
    names = ("log_marginal", "decoder's products", "density, element by element")
    sizes = [{"rows": args.data, "samples": args.samples}, {"total": total}, {"total": total}]
    jobs = {n: job(n, w, 1, warm=0, **size) for n, size in zip(names, sizes)}
    times = in_turns(jobs, args.rounds)
    print(f"784-400-50: {args.data} data, {args.samples} samples each; seconds")
    print(f"  {'':30s}{'median (lowest to highest)':>32s}{'million/s':>12s}{'peak MiB':>10s}")
    rows = []
    for name, t in times.items():
        seconds = [ms / 1e3 for ms in t.ms]
        rate = total / statistics.median(seconds) / 1e6
        print(f"  {name:30s}{spread(seconds, 3):>32s}{rate:12.3f}{t.peak:10.0f}", flush=True)
        rows.append({"contender": name, "seconds": seconds, "million_samples_per_second": rate})
        rows[-1] |= {"peak_mib": t.peak, "mib_before": t.before}
    if len(times) == len(names):
        ours, *parts = (times[name].median for name in names)
        print(f"  log_marginal / products {ours / parts[0]:.2f}, / both {ours / sum(parts):.2f}")
        before = times[names[0]].before
        print(
            f"  memory of log_marginal {times[names[0]].peak - before:.0f} above {before:.0f} MiB"
        )
    return {"data": args.data, "samples": args.samples, "evaluate": rows}


# --- Scaling -------------------------------------------------------------------------------------

SWEEPS = {
    "batch_size": (32, 64, 128, 256, 512, 1024, 2048),
    "latent_dim": (10, 25, 50, 100, 200, 400),
    "particles": (1, 2, 5, 10, 20, 50),
    "models": MODELS,
    "rows": (5_000, 10_000, 20_000, 40_000, 80_000),
}


def at_size(sweep, size, args) -> dict[str, Job]:
    """The contenders, where one thing has this size."""
    mnist, digits = (
        replace(WORKLOADS[name], steps=steps, device=args.device, tf32=args.tf32)
        for name, steps in (("mnist", 10), ("digits", 100))
    )
    if sweep == "models":
        return {"ours, one step": job("ours, one step", digits, count=size)}
    if sweep == "rows":
        return {"pv.fit": job("pv.fit", digits, 1, warm=0, rows=size)}
    w = replace(mnist, **{sweep: size})
    return {name: job(name, w) for name in ("stock SVI", "ours, compiled")}


def scaling(args) -> dict:
    """How costs grow: times by size, and the exponent over the upper half of the sizes."""
    results = {}
    for sweep in args.sweeps:
        small, unit = sweep in ("models", "rows"), "epoch" if sweep == "rows" else "step"
        print(f"{sweep}, {'64-64-8' if small else '784-400-50'}: ms a {unit}", flush=True)
        medians: dict[str, dict] = {}
        for size in SWEEPS[sweep]:
            for name, t in in_turns(at_size(sweep, size, args), args.rounds).items():
                medians.setdefault(name, {})[size] = t.median
        for name, row in medians.items():
            slope = exponent(row)
            cells = "".join(f"{size}: {ms:.4g}  " for size, ms in row.items())
            print(f"  {name:16s}{cells}exponent {slope:.2f}", flush=True)
            results[f"{sweep}: {name}"] = {"ms": row, "exponent": slope}
    return results


def exponent(row) -> float:
    """The slope of log time against log size over the upper half of the sizes."""
    upper = sorted(row)[len(row) // 2 - (len(row) < 4) :]
    if len(upper) < 2:
        return math.nan
    x, y = np.log(upper), np.log([row[size] for size in upper])
    return float(np.polyfit(x, y, 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    modes = {f.__name__: f for f in (steps, many, race, evaluate, scaling)}
    parser.add_argument("mode", nargs="?", default="steps", choices=modes)
    add = parser.add_argument
    add("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    add("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS, help="of steps")
    add("--runners", nargs="+", default=list(RUNNERS), choices=RUNNERS, help="of the race")
    add("--sweeps", nargs="+", default=list(SWEEPS), choices=SWEEPS, help="of scaling")
    add("--rounds", type=int, default=7)
    add("--target", type=float, default=-100.0, help="test ELBO of the race, nats per datum")
    add("--max-epochs", type=int, default=30, help="of the race")
    add("--data", type=int, default=200, help="test data of evaluate")
    add("--samples", type=int, default=5000, help="of each, in evaluate")
    add("--device", default="cpu", help="of steps, many and scaling: cpu or cuda")
    add("--tf32", action="store_true", help="TF32 products for all on a GPU, else float32")
    add("--plot", type=Path, help="also draw the mode many to this file")
    add("--json", type=Path, help="also write the results to this file")
    args = parser.parse_args()
    where = machine("torch", "pyro-ppl", "jax", "numpyro", "pythae")
    where |= {"device": args.device, "products": "TF32" if args.tf32 else "float32"}
    print(json.dumps(where), flush=True)
    results = {"machine": where, **modes[args.mode](args)}
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
