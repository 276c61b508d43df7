"""Trains, kills, resumes, evaluates, sweeps and imputes in random turns, and loses nothing.

    SOAK_MINUTES=30 python scripts/soak.py --seed 0 --folder soak

After every turn: the command ended as it should; each run has a complete checkpoint, at a step
that is not lower than before; its metrics are whole rows of consecutive epochs; a training that is
complete has the bits that any other way to the same number of epochs has; an evaluation of the
same parameters gives the same number; and files are whole.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import numpy as np
import torch

import pyro_vae
from pyro_vae.cli import main as command
from pyro_vae.runs import RunFolder, storage

RUNS, EPOCHS, SEEDS = 4, (2, 4, 7), 2
KILLS = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
SETTINGS = ["--latent-dim", "2", "--no-compile", "--train.batch-size", "20"]
SETTINGS += ["--train.schedule", "constant"]  # which does not depend on the number of epochs
SETTINGS += ["--train.checkpoint-steps", "3", "--data.path", "table.csv"]
SMALL = ["--likelihood.decoder.hidden-features", "8", "--posterior.encoder.hidden-features", "8"]


class Soak:
    """The runs in a folder, and what is known of them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        folder.mkdir(parents=True)
        os.chdir(folder)
        self.steps: dict[str, int] = {}
        self.bits: dict[tuple[int, int], str] = {}  # by seed and epochs
        self.elbos: dict[str, float] = {}  # by the parameters that are evaluated
        self.turns: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()  # signals that came before the end
        self.seconds = 2.0  # of a training that ends by itself
        x = np.random.default_rng(seed).normal(size=(120, 4)).round(3)
        lines = [",".join("" if v > 1.6 else str(v) for v in row) for row in x]
        Path("table.csv").write_text("\n".join(["a,b,c,d", *lines]) + "\n")

    # --- Turns ----------------------------------------------------------------------------------

    def turn(self) -> str:
        """Takes a random turn, and returns what it was."""
        known = [name for name in self.steps if RunFolder(name).holds_training]
        actions: list[Callable[[], str]] = [self.train, *[self.killed] * 3]
        if known:
            name = self.random.choice(known)
            actions += [lambda: self.resume(name)] * 4
            actions += [lambda: self.evaluate(name), lambda: self.write(name), self.sweep]
        said = self.random.choice(actions)()
        self.turns[said.split()[0]] += 1
        return said

    def train(self) -> str:
        name, words = self.new_training()
        start = time.monotonic()
        self.expect(words, 0)
        self.seconds = time.monotonic() - start
        self.steps[name] = 0
        return f"train {name}"

    def killed(self) -> str:
        name, words = self.new_training()
        had = RunFolder(name).holds_training
        said = self.kill(words)
        RunFolder(name).recover()
        found = RunFolder(name).holds_training
        check(found or not had, f"{name} is lost to {words}, {said}")
        self.steps[name] = 0
        return f"kill {name} {said}"

    def resume(self, name: str) -> str:
        epochs = RunFolder(name).recorded.epochs + self.random.choice([0, 1, 3])
        words = ["train", "--resume", name, "--train.epochs", str(max(1, epochs))]
        if self.random.random() < 0.6:
            return f"resume {name} and kill it {self.kill(words)}"
        self.expect(words, 0)
        return f"resume {name} to {epochs} epochs"

    def kill(self, words: list[str]) -> str:
        """Begins a command, and sends it a signal while it works, most of the time."""
        number, after = self.random.choice([*KILLS]), self.random.uniform(0.0, self.seconds)
        code = forked(words, number, after)
        # it may end before, and a signal may come before there is a handler for it
        said = f"by {signal.Signals(number).name} after {after:.2f} s: {code}"
        check(code in {KILLS[number], 0, -number}, f"{words} killed {said}")
        if code:
            self.hits[signal.Signals(number).name] += 1
        return said

    def evaluate(self, name: str) -> str:
        self.expect(["evaluate", name, "--num-samples", "20", "--out", "e.npz"], 0)
        record = json.loads((Path(name) / "figures.json").read_text())["test"]
        known = self.elbos.setdefault(digest(name, "best"), record["elbo"])
        check(known == record["elbo"], f"{name}: ELBO {record['elbo']}, and {known} before")
        with np.load("e.npz") as arrays:
            check(len(arrays["rows"]) == record["num_data"], "e.npz is not whole")
        return f"evaluate {name}"

    def write(self, name: str) -> str:
        words = self.random.choice(
            [
                ["impute", name, "--split", "all", "--num-samples", "3"],
                ["sample", name, "--num-samples", "5", "--out", "s.csv"],
                ["encode", name, "--out", "z.csv"],
                ["explore", name, "--max-data", "20"],
            ]
        )
        self.expect(words, 0)
        return " ".join(words[:2])

    def sweep(self) -> str:
        words = ["sweep", "table", "--seeds", "2", "--out", "sweep", "--train.epochs", "2"]
        words += ["--likelihood.missing", "at-random", *SETTINGS, *SMALL]
        self.expect(words, 0)
        record = json.loads(Path("sweep/sweep.json").read_text())
        check(len(record["settings"][0]["runs"]) == 2, "sweep.json is not whole")
        return "sweep"

    def new_training(self) -> tuple[str, list[str]]:
        name = f"run{self.random.randrange(RUNS)}"
        seed, epochs = self.random.randrange(SEEDS), self.random.choice(EPOCHS)
        words = ["train", "table", "--out", name, "--seed", str(seed), "--overwrite", *SETTINGS]
        words += ["--train.epochs", str(epochs), "--likelihood.missing", "at-random", *SMALL]
        return name, words

    def expect(self, words: list[str], code: int) -> None:
        found = forked(words)
        said = Path("said.txt").read_text(errors="replace")
        check(found == code, f"{words} ended with {found}:\n{said}")
        check("Traceback" not in said, f"{words} has a traceback:\n{said}")

    # --- What holds after each ------------------------------------------------------------------

    def check(self) -> None:
        """Checks all runs."""
        for name in [n for n in self.steps if RunFolder(n).holds_training]:
            run = RunFolder(name)
            source = storage.newest(run.path)
            for path in (run.path / "checkpoints").glob("step-*"):
                storage.verify(path)
            state = storage.read(source)[1]
            position, step = state["position"], state["position"]["step"]
            check(step >= self.steps[name], f"{name}: step {step} after {self.steps[name]}")
            self.steps[name] = step
            epochs = [row["epoch"] for row in run.metrics() if "loss" in row]
            check(epochs == [*range(1, len(epochs) + 1)], f"{name}: epochs {epochs}")
            check(len(epochs) >= position["epoch"], f"{name}: {len(epochs)} rows of metrics")
            if position["finished"]:
                key, bits = (state["seed"], position["epoch"]), digest(name)
                check(self.bits.setdefault(key, bits) == bits, f"{name}: other bits at {key}")
            check(not run.aside.exists(), f"{name}: an earlier run is left aside")


def digest(name: str, group: str = "model") -> str:
    """The bits of the newest parameters of a run, or of those of its best epoch, if any."""
    tensors = storage.read(storage.newest(Path(name)))[0]
    found = hashlib.sha256()
    for key, value in sorted((tensors[group] or tensors["model"]).items()):
        found.update(key.encode() + value.numpy().tobytes())
    return found.hexdigest()


def forked(words: list[str], number: int | None = None, after: float = 0.0) -> int:
    """The exit code of a command in a process of its own, to which a signal may be sent."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with (
                Path("said.txt").open("w") as said,
                contextlib.redirect_stderr(said),
                contextlib.redirect_stdout(said),
            ):
                code = command(words)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            with Path("said.txt").open("a") as said:
                traceback.print_exc(file=said)
        finally:
            os._exit(code)
    if number is not None:
        time.sleep(after)
        os.kill(pid, number)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(what)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("soak"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    for found in walk_packages(pyro_vae.__path__, "pyro_vae."):  # once for all turns
        if "__main__" not in found.name:
            import_module(found.name)
    end = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "30"))
    soak, number = Soak(args.folder, args.seed), 0
    while time.monotonic() < end:
        number += 1
        said = soak.turn()
        soak.check()
        print(f"{number:4d}  {said}", flush=True)
    turns, hits = (
        ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        for counts in (soak.turns, soak.hits)
    )
    print(f"{number} turns without a loss: {turns}; killed before their end: {hits}; ", end="")
    print(f"{len(soak.bits)} trainings compared by bits.")


if __name__ == "__main__":
    main()
