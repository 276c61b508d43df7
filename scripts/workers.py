"""The processes of the benchmark: each contender has its own, and waits on a pipe for its turn.

A worker makes its contender, a function `advance(n)`, and says so. Each number that it then reads
asks for so many steps; it answers with its own wall time, with the CPU time that it used while it
was waiting, which should be none, and with its peak memory.
"""

import contextlib
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

REST = 0.05  # seconds before a turn: threads of the worker before stop spinning
IDLE = 0.02  # CPU seconds a second of waiting that are worth a line


class Stopped(Exception):
    """A worker ended before it answered; says why."""


class Worker:
    """Starts a process that answers in lines of JSON."""

    def __init__(self, *command: str):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},  # a GPU is shared
        )

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            words = self.errors.read().strip().splitlines() or ["no word"]
            raise Stopped(f"{words[-1]} (exit status {self.process.returncode})")
        return json.loads(line)

    def ask(self, steps: int) -> dict:
        with contextlib.suppress(BrokenPipeError):  # what it said is read below
            print(steps, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@dataclass
class Job:
    """A contender: the function "module:name" that makes it, its arguments, steps of a turn."""

    function: str
    arguments: dict
    steps: int = 1


@dataclass
class Times:
    """What a contender took: milliseconds a step in each round, and more of its process."""

    ms: list = field(default_factory=list)
    start: float = 0.0  # seconds until it was at full speed, without the imports that all share
    idle: float = 0.0  # CPU seconds a second of waiting
    before: float = 0.0  # MiB before the first turn, at most
    peak: float = 0.0  # MiB after the last

    @property
    def median(self) -> float:
        return statistics.median(self.ms)


def start(jobs: dict[str, Job], times: dict[str, Times]) -> dict[str, Worker]:
    """Starts the workers one after the other; those that cannot start are named and left out."""
    workers = {}
    here = str(Path(__file__).resolve())
    for name, job in jobs.items():
        worker = Worker(here, job.function, json.dumps(job.arguments))
        try:
            ready = worker.answer()
        except Stopped as reason:
            print(f"  {name} cannot start: {reason}", flush=True)
            worker.close()
            continue
        if ready["seconds"] is None:  # nothing to do for this workload
            worker.close()
            continue
        workers[name] = worker
        times[name] = Times(start=ready["seconds"], before=ready["peak"])
    return workers


def in_turns(jobs: dict[str, Job], rounds: int) -> dict[str, Times]:
    """Measures contenders, each in its own process, in rounds in which each takes its turn."""
    times: dict[str, Times] = {}
    workers = start(jobs, times)
    try:
        for _ in range(rounds):
            for name in [*workers]:
                time.sleep(REST)
                n = jobs[name].steps
                try:
                    said = workers[name].ask(n)
                except Stopped as reason:
                    print(f"  {name} stopped: {reason}", flush=True)
                    workers.pop(name).close()
                    continue
                times[name].ms.append(said["seconds"] / n * 1e3)
                times[name].peak = said["peak"]
                if len(times[name].ms) > 1:  # before the first turn the others start
                    times[name].idle = max(times[name].idle, said["idle"])
    finally:
        for worker in workers.values():
            worker.close()
    for name in workers:
        if times[name].idle > IDLE:
            print(f"  {name} used {times[name].idle:.0%} of a core while it waited", flush=True)
    return {name: row for name, row in times.items() if row.ms}


# --- In the worker -------------------------------------------------------------------------------


def peak() -> float:
    """The peak memory of this process in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def serve(function: str, arguments: dict) -> None:
    """Makes a contender and lets it take its turns until the pipe is closed."""
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)  # what libraries print is not an answer

        def tell(**values):
            print(json.dumps({**values, "peak": peak()}), file=pipe, flush=True)

        module, _, name = function.partition(":")
        make = getattr(importlib.import_module(module), name)
        begun = time.perf_counter()
        advance = make(**arguments)
        tell(seconds=None if advance is None else time.perf_counter() - begun)
        waits, used = time.perf_counter(), time.process_time()
        for line in sys.stdin:
            begun = time.perf_counter()
            idle = (time.process_time() - used) / (begun - waits)
            begun = time.perf_counter()
            seconds = advance(int(line))
            seconds = time.perf_counter() - begun if seconds is None else seconds
            tell(seconds=seconds, idle=idle)
            waits, used = time.perf_counter(), time.process_time()


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
