r"""One training: data, batches, steps, metrics, checkpoints."""

import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ..compile.counter import COUNTED, CounterNoise, NoCounterForm
from ..config import Train
from ..data import Split, fingerprint
from ..gallery import Relative
from ..objectives import Objective
from ..programs import device_of
from ..randomness import apart
from ..ranks import here
from ..runs import RunFolder
from ..runs.saved import declaration_of
from ..statistics import Mean
from .history import Callback, History, Position
from .measures import OfRelative, OfVAE
from .memory import enough_memory
from .own import OwnLoss, OwnStep
from .progress import Progress, leave, stop_signals
from .saving import Saving
from .schedule import Schedule
from .shared import SharedLoss, Together
from .steps import Eager, Fused, Loss, Step, compiles, uncompiled_steps

STEPS_UNREAD = 100  # on a GPU: reading the metrics of a step synchronizes
FAR = 10  # times the first loss: training has diverged


class NumericsError(ArithmeticError):
    r"""The loss or its gradient stayed non-finite; no bad step reached the parameters."""


@dataclass(eq=False)
class Run:
    r"""One training: its state and its loop. Created by :func:`fit`."""

    vae: Any
    objective: Objective
    optimizer: Optimizer
    settings: Train
    data: Split
    valid: Split | None
    seed: int
    folder: RunFolder | None
    record: Mapping[str, Any] | None
    callbacks: Sequence[Callback]
    progress: bool
    position: Position = field(default_factory=Position)
    history: History = field(default_factory=History)
    best: dict[str, Tensor] = field(default_factory=dict)
    first_loss: float | None = None

    def __post_init__(self) -> None:
        vae, settings = self.vae, self.settings
        self.visits = visits(vae, self.data, settings.label_visits)
        count = len(self.visits)
        self.ranks = here()
        self.fingerprint = fingerprint(self.data)
        declared = self.folder is not None and "recipe" not in (self.record or {})
        self.declaration = declaration_of(vae) if declared else ({}, {})
        self.joins = leftover_rows(vae, count, settings.batch_size)
        self.steps_per_epoch = math.ceil(count / settings.batch_size) - self.joins
        self.schedule = Schedule(settings, self.steps_per_epoch)
        self.relaxed = [m for m in vae.modules() if "temperature" in dict(m.named_buffers())]
        own = isinstance(vae, Relative)
        self.measured: OfVAE | OfRelative = OfRelative(vae.measures) if own else OfVAE()
        kind = Loss if self.ranks.alone else SharedLoss
        self.loss: Any = (
            OwnLoss(vae, self.data) if own else kind(vae, self.objective, self.data, settings)
        )
        self.display = Progress(self.progress, settings.epochs, self.steps_per_epoch)
        self.use_noise(not own and device_of(vae).type in COUNTED)
        self.use_steps(compiled=not own and compiles(settings, self.steps_per_epoch))
        self.unread: list[tuple[Tensor, int]] = []
        self.saving = Saving(self)

    def use_steps(self, compiled: bool, first: int | None = None) -> None:
        r"""Sets whether steps are compiled from now on, at the earliest after the `first`."""
        self.take_step: Step | OwnStep
        if isinstance(self.vae, Relative):
            self.take_step = OwnStep(self.vae, self.optimizer, self.data, self.settings)
            return
        eager = Eager(self.loss, self.optimizer, self.settings)
        self.take_step = eager
        if compiled:
            first = uncompiled_steps(self.settings) if first is None else first
            taken = self.position.step
            self.take_step = Fused(eager, self.settings, self.progress, first, taken)
        if isinstance(self.loss, SharedLoss):
            self.take_step = Together(self.take_step, self.loss, self.display.stop)

    def use_noise(self, counted: bool) -> None:
        r"""Sets whether random numbers are by counter from the next step on."""
        self.loss.noise = None
        if counted:
            seed, device = self.ranks.seed(self.seed), device_of(self.vae)
            self.loss.noise = CounterNoise(seed, device, self.position.step)

    # --- The loop -------------------------------------------------------------------------------

    def train(self) -> History:
        r"""Trains until the last epoch, or until the validation ELBO stops rising."""
        with stop_signals(self.display.stop, self.folder is not None), self.display:
            for batches in self.epochs():
                for rows in batches:
                    self.step(rows)
                    self.between_steps()
        return self.history

    def epochs(self) -> Iterator[list[Tensor]]:
        r"""Yields the batches of each epoch, whose steps the caller takes; measures and saves
        between epochs."""
        at = self.position
        if self.data.violation and at.step == 0:
            self.log(warning=f"Not a density. {self.data.violation}")
        self.notify("on_start", self)
        while not at.finished and at.epoch < self.settings.epochs:
            self.clock = time.perf_counter()
            yield self.batches(self.order(at.epoch))[at.batch :]
            row = self.measure()
            if self.ranks.first(self.saving.is_due()):
                self.save()
            self.notify("on_row", row)
        at.finished = True
        self.warn_of_rise()
        self.save(last=True)
        if self.best:
            self.vae.load_state_dict(self.best)
        self.notify("on_end", self.history)

    def stop(self) -> None:
        r"""Ends training after this epoch."""
        self.position.finished = True

    def order(self, epoch: int) -> Tensor:
        r"""Returns the row numbers in the order of an epoch."""
        permutation = np.random.default_rng((self.seed, epoch)).permutation(len(self.visits))
        return self.visits[torch.from_numpy(permutation)].to(device_of(self.vae))

    def batches(self, order: Tensor) -> list[Tensor]:
        r"""Splits the rows of an epoch into batches; a single last row joins the batch before if a
        network normalizes over the batch."""
        batches = list(order.split(self.settings.batch_size))
        if self.joins:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def step(self, rows: Tensor) -> None:
        r"""Takes one gradient step on the loss of the rows, unless it would not be finite."""
        with enough_memory(self.settings):
            metrics = self.take_step(rows, *self.prepare())
        self.unread.append((metrics, len(rows)))
        waits = self.take_step.compiled and metrics.device.type != "cpu"
        if not waits or len(self.unread) == STEPS_UNREAD:
            self.read_metrics()

    def prepare(self) -> tuple[float, float | None]:
        r"""Sets what changes with every step; returns weight and capacity of the KL term."""
        at = self.position
        lr, weight = self.schedule.lr(at.step), self.schedule.kl_weight(at.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.settings.final_temperature is not None:
            at.temperatures = at.temperatures or [float(m.temperature) for m in self.relaxed]
            for module, start in zip(self.relaxed, at.temperatures):
                module.temperature.fill_(self.schedule.temperature(at.step, start))
        capacity = self.schedule.capacity(at.step)
        at.step += 1
        at.sums["lr"] = lr
        if "kl" in self.measured.terms:
            at.sums["kl_weight"] = weight
        return weight, capacity

    def between_steps(self) -> None:
        r"""Shows progress, saves if it is due, and stops on a signal."""
        at, every = self.position, self.settings.checkpoint_steps
        at.batch += 1
        self.display.advance(at.step)
        interrupted = self.stops()
        if interrupted or (every and at.step % every == 0):
            self.add_time()
            self.save(last=interrupted)
        if interrupted:
            self.ranks.part_ways()
            leave(self.display.stop[0] if self.display.stop else signal.SIGTERM)

    def stops(self) -> bool:
        r"""Whether training stops after this step: on a signal, of which all ranks have heard."""
        step = self.take_step
        return step.stopped if isinstance(step, Together) else bool(self.display.stop)

    def try_out(self) -> None:
        r"""Computes the loss of a batch and its gradients without changing anything.

        Errors of the first step are raised here, before anything is written.
        """
        modules = (self.vae, self.objective)
        before = [{n: t.clone() for n, t in m.state_dict().items()} for m in modules]
        self.vae.train()
        size = min(self.settings.batch_size, len(self.data))
        rows = torch.arange(math.ceil(size / self.ranks.count))
        batch = self.batches(rows.to(device_of(self.vae)))[0]
        weight, capacity = self.schedule.kl_weight(0), self.schedule.capacity(0)
        loss = partial(self.loss, None, batch, weight, capacity)
        with enough_memory(self.settings):
            self.first_loss = float((self.try_noise(loss) if self.loss.noise else loss())[0])
        self.optimizer.zero_grad()
        for module, state in zip(modules, before):
            module.load_state_dict(state)

    def try_noise(self, loss: Callable[[], list[Tensor]]) -> list[Tensor]:
        r"""Computes a loss; draws that have no form by counter are left to the generators."""
        try:
            terms = loss()
        except NoCounterForm as error:
            reason = str(error).partition("\n")[0]
            print(f"Random numbers are those of PyTorch's generator. {reason}", file=sys.stderr)
            self.use_noise(counted=False)
            return loss()
        self.use_noise(counted=True)
        return terms

    # --- Measuring ------------------------------------------------------------------------------

    def read_metrics(self) -> None:
        r"""Reads the metrics of steps from the device."""
        counts = [count for _, count in self.unread]
        steps = torch.stack([metrics for metrics, _ in self.unread]).tolist() if counts else []
        self.unread.clear()
        for metrics, count in zip(steps, counts):
            self.add_metrics(metrics, count)

    def add_metrics(self, metrics: Sequence[float], count: int) -> None:
        r"""Adds the metrics of a step to those of the epoch."""
        at = self.position
        if not all(map(math.isfinite, metrics)):
            self.count_bad_step(metrics)
            return
        at.bad_steps = 0
        for name, value in zip(self.measured.terms, metrics):
            at.sums[name] = at.sums.get(name, 0.0) + value * count
        at.sums["count"] = at.sums.get("count", 0.0) + count

    def count_bad_step(self, metrics: Sequence[float]) -> None:
        r"""Counts a step that was not taken, and raises an error after too many in a row."""
        at = self.position
        at.bad_steps += 1
        if at.bad_steps >= self.settings.max_bad_steps:
            saved = ""
            if self.folder is not None and self.folder.holds_training:
                saved = f" The last checkpoint is in {self.folder.path}."
            self.ranks.part_ways()
            raise NumericsError(
                f"Expected finite losses and gradients; got loss {metrics[0]} and gradient norm "
                f"{metrics[-1]} in {at.bad_steps} steps in a row, up to step {at.step}. The "
                "parameters are unchanged since. Lower train.lr or set "
                f"train.clip_norm.{saved}"
            )

    def measure(self) -> dict[str, Any]:
        r"""Measures an epoch: means over all data with equal weights, and validation."""
        at = self.position
        self.add_time()
        self.read_metrics()
        at.epoch, at.batch = at.epoch + 1, 0
        sums, at.sums = at.sums, {}
        count = sums.pop("count", 0.0)
        means = {n: v if n in ("kl_weight", "lr") else v / count for n, v in sums.items()}
        found, warnings = self.measured.epoch(self)
        row = self.log(**means, **found, seconds=round(at.seconds, 3))
        for warning in warnings:
            row |= self.log(warning=warning)
        return row | self.validate()

    def validate(self) -> dict[str, Any]:
        r"""Measures the validation data; with patience, keeps the best parameters."""
        if self.valid is None:
            return {}
        at, patience = self.position, self.settings.patience
        mean = Mean.of(self.measured.valid(self, self.valid))
        bound = mean.value
        if patience is None:
            pass
        elif math.isfinite(bound) and (at.best_elbo is None or bound > at.best_elbo):
            at.best_elbo, at.epochs_since_best = bound, 0
            self.best = {k: v.detach().clone() for k, v in self.vae.state_dict().items()}
        else:
            at.epochs_since_best += 1
            at.finished = at.epochs_since_best >= patience
        return self.log(**mean.record(self.measured.score))

    def warn_of_rise(self) -> None:
        r"""Warns if the loss ended far above where it began."""
        losses, first = self.history["loss"], self.first_loss
        if first is not None and losses and losses[-1] > first + FAR * (1 + abs(first)):
            unit = " nats per datum" if "kl" in self.measured.terms else ""
            self.log(
                warning=f"The loss ended at {losses[-1]:.3g}{unit}, far above the "
                f"{first:.3g} at the start. Lower train.lr, or set train.clip_norm."
            )

    def log(self, **values: Any) -> dict[str, Any]:
        r"""Adds a row to the history, to metrics.jsonl and to the display."""
        at = self.position
        row = {"step": at.step, "epoch": at.epoch, **values}
        self.history.rows.append(row)
        self.display.show(row)
        self.saving.write_metrics()
        return {**row}

    def notify(self, method: str, what: Any) -> None:
        r"""Calls the callbacks; if one of them fails after an epoch, the epoch is saved."""
        try:
            with self.ranks.agreed(), apart(device_of(self.vae)):
                for callback in self.callbacks:
                    getattr(callback, method)(what)
        except BaseException as error:
            if method == "on_row" and (self.ranks.alone or isinstance(error, Exception)):
                self.save()  # of an interrupt other ranks have not heard
            raise
        self.vae.train()

    def save(self, last: bool = False) -> None:
        r"""Writes a checkpoint, if training writes to a folder.

        Arguments:
            last: Whether nothing is trained after it; an earlier one may fail.
        """
        self.read_metrics()
        self.saving.save(last)

    def add_time(self) -> None:
        r"""Adds the seconds since the last call to the epoch's time."""
        now = time.perf_counter()
        self.position.seconds += now - self.clock
        self.clock = now


def visits(vae: Any, data: Split, times: int) -> Tensor:
    r"""Returns the numbers of the rows that an epoch visits: those with a known latent variable so
    many times, the others once.

    Raises:
        ValueError: No latent variable is known for any row.
    """
    every = torch.arange(len(data))
    if times == 1:
        return every
    given = [data.known[n].cpu() for n in getattr(vae, "latents", ()) if n in data.known]
    told = [every[~value.flatten(1).isnan().any(1)] for value in given]
    if not any(map(len, told)):
        raise ValueError(
            f"Expected data whose latent y is known for some rows with label_visits {times}; got "
            "none. Leave label_visits out, or declare them in data.known."
        )
    return torch.cat([every, torch.cat(told).unique().repeat(times - 1)])


def normalizes(vae: Any) -> bool:
    r"""Whether a network normalizes over the batch."""
    return any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in vae.modules())


def leftover_rows(vae: Any, count: int, batch_size: int) -> int:
    r"""The number of last rows that cannot be normalized over their own batch: one or zero.

    Raises:
        ValueError: Every batch has one row.
    """
    if not normalizes(vae):
        return 0
    if min(count, batch_size) == 1:
        raise ValueError(
            f"Expected batches of two or more rows with a network that normalizes over the batch; "
            f"got batch_size {batch_size} and {count} rows. Raise batch_size, or use LayerNorm."
        )
    return int(count % batch_size == 1)
