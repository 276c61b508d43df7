r"""One training, step by step: what it holds, how it goes on, how it stops."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from .. import checkpoint
from ..config import Train
from ..data import Split, fingerprint
from ..evaluate import CollapseWatch, active_units, elbo
from ..evaluate.collapse import ACTIVE
from ..objectives import ELBO, Objective, scale_kl, track_sigma
from ..programs import device_of, families, wants_rows
from ..statistics import Mean
from .schedule import Schedule, compiles, lone_rows
from .terminal import Bar, leave

if TYPE_CHECKING:
    from ..compile import FusedStep

STEPS_UNREAD = 100  # on a GPU: reading the figures of a step waits for it
FAR = 10  # times the first loss: training has made things worse
ROWS_WATCHED = 1000  # whose posterior means tell which latent units are alive
SECONDS_BETWEEN_CHECKPOINTS = 1.0  # after epochs; it decides nothing but what a crash may lose


class NumericsError(ArithmeticError):
    r"""The loss or its gradient stayed non-finite; no bad step reached the parameters."""


@dataclass
class History:
    r"""What training measured: the rows of ``metrics.jsonl``.

    One row an epoch has `step`, `epoch`, `loss`, `reconstruction`, `kl` (nats per datum, every
    datum weighing the same), `kl_weight`, `grad_norm`, `lr`, `active_units` and `seconds`; one row
    a validation has `step`, `epoch`, `elbo` and `elbo_se`; a row with a `warning` tells of latent
    units that are about to collapse.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[Any]:
        r"""Returns a column, from the rows that have it."""
        return [row[name] for row in self.rows if name in row]


@dataclass
class Position:
    r"""Where training stands; with parameters, optimizer and random state all that it needs."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    bad_steps: int = 0
    best_elbo: float | None = None
    epochs_since_best: int = 0
    finished: bool = False
    metrics_bytes: int = 0
    temperatures: list[float] = field(default_factory=list)


class Run:
    r"""One training: what it holds, step by step. Made by :func:`fit`."""

    def __init__(
        self,
        vae: Any,
        objective: Objective,
        optimizer: Optimizer,
        settings: Train,
        data: Split,
        valid: Split | None,
        seed: int,
        record: Mapping[str, Any] | None,
    ) -> None:
        self.vae, self.objective = vae, objective
        self.optimizer, self.settings = optimizer, settings
        self.data, self.valid, self.seed, self.record = data, valid, seed, record
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.sigma = track_sigma(getattr(vae, "likelihood", None))
        self.wants_rows = wants_rows(vae)
        self.relaxed = [m for m in vae.modules() if "temperature" in dict(m.named_buffers())]
        self.fingerprint = fingerprint(data)
        self.joins = lone_rows(vae, len(data), settings.batch_size)
        self.steps_per_epoch = math.ceil(len(data) / settings.batch_size) - self.joins
        self.schedule = Schedule(settings, self.steps_per_epoch)
        self.position, self.history = Position(), History()
        self.watch = CollapseWatch()
        self.best: dict[str, Tensor] = {}
        self.first_loss: float | None = None
        self.weighs_kl = settings.kl_weight != 1 or settings.kl_warmup_epochs > 0
        self.compiled = compiles(settings, self.steps_per_epoch)
        self.library: Any = None
        self.fused: FusedStep | None = None
        self.pending: list[tuple[Tensor, int]] = []
        self.folder: Path | None = None
        self.on_save: Callable[[], None] = lambda: None
        self.saved = time.monotonic()
        self.stop: list[int] = []
        self.bar: Bar

    # --- The loop -------------------------------------------------------------------------------

    def train(self) -> None:
        r"""Trains until the last epoch, or until the validation ELBO stops rising."""
        at = self.position
        self.vae.train()
        if self.data.violation and at.step == 0:
            self.log({"step": 0, "epoch": 0, "warning": f"Not a density. {self.data.violation}"})
        while not at.finished and at.epoch < self.settings.epochs:
            self.epoch()
        at.finished = True
        self.warn_of_rise()
        self.save()
        if self.best:
            self.vae.load_state_dict(self.best)

    def epoch(self) -> None:
        r"""Visits every datum once, from the batch where training stands."""
        at, start = self.position, time.perf_counter()
        permutation = np.random.default_rng((self.seed, at.epoch)).permutation(len(self.data))
        order = torch.from_numpy(permutation).to(device_of(self.vae))

        for batch in self.batches(order)[at.batch :]:
            self.step(batch)
            at.batch += 1
            self.bar.advance(at.step)
            interrupted = bool(self.stop)
            every = self.settings.checkpoint_steps
            if interrupted or (every and at.step % every == 0):
                at.seconds += time.perf_counter() - start
                start = time.perf_counter()
                self.save()
            if interrupted:
                leave(self.stop[0])

        at.seconds += time.perf_counter() - start
        at.epoch, at.batch = at.epoch + 1, 0
        self.log_epoch()
        if self.valid is not None:
            self.validate()
        if time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()

    def batches(self, order: Tensor) -> list[Tensor]:
        r"""Cuts the rows of an epoch; a lone last row joins the batch before, where a network
        normalizes over the batch."""
        batches = list(order.split(self.settings.batch_size))
        if self.joins:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def try_out(self) -> None:
        r"""Takes the loss of a batch and its gradients, and leaves everything as it was.

        What would fail at the first step fails here, before anything is written.
        """
        before = {name: t.clone() for name, t in self.vae.state_dict().items()}
        other = {name: t.clone() for name, t in self.objective.state_dict().items()}
        self.vae.train()
        rows = torch.arange(min(self.settings.batch_size, len(self.data)))
        batch = self.batches(rows.to(device_of(self.vae)))[0]
        capacity = self.schedule.capacity(0)
        weight = self.schedule.kl_weight(0)
        self.first_loss = float(self.losses(self.data.rows(batch), batch, weight, capacity)[0])
        self.optimizer.zero_grad()
        self.vae.load_state_dict(before)
        self.objective.load_state_dict(other)

    def step(self, batch: Tensor) -> None:
        r"""Takes one gradient step on the loss of some rows, unless it would not be finite.

        A smaller last batch steps eagerly: one step an epoch is not worth a graph of its own.
        """
        at, settings = self.position, self.settings
        lr, weight = self.schedule.lr(at.step), self.schedule.kl_weight(at.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.set_temperatures()
        whole = len(batch) == min(settings.batch_size, len(self.data))
        take = self.fused_step if self.compiled and whole else self.eager_step
        figures = take(batch, weight, self.schedule.capacity(at.step))

        at.step += 1
        at.sums["kl_weight"], at.sums["lr"] = weight, lr
        self.pending.append((figures, len(batch)))
        if not self.compiled or figures.device.type == "cpu" or len(self.pending) == STEPS_UNREAD:
            self.read_figures()

    def eager_step(self, batch: Tensor, weight: float, capacity: float | None) -> Tensor:
        r"""Computes loss and gradients by PyTorch, and lets the optimizer step."""
        self.optimizer.zero_grad()
        terms = self.losses(self.data.rows(batch), batch, weight, capacity)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        figures = torch.stack([*(term.detach() for term in terms), norm])
        if figures.isfinite().all():
            if self.settings.clip_norm is not None:
                clip_grads_with_norm_(self.parameters, self.settings.clip_norm, norm)
            self.optimizer.step()
        return figures

    def fused_step(self, batch: Tensor, weight: float, capacity: float | None) -> Tensor:
        r"""Does the same in one compiled graph."""
        from ..compile import FusedStep, NotStatic, slots_of  # a second's import: when needed
        from ..compile.products import faster_library

        if self.fused is None:
            if self.bar.enabled:
                print("Compiling a step: 5 to 30 s, once.", file=sys.stderr, flush=True)
            self.library = self.library or faster_library()
            self.fused = FusedStep(
                self.losses,
                slots_of(self.optimizer),
                clip_norm=self.settings.clip_norm,
                modules=[self.vae],
                library=self.library,
            )
        x = None if isinstance(self.data.stored, Tensor) else self.data.rows(batch)
        try:
            return torch.stack(self.fused(x, batch, weight, capacity))
        except NotStatic as error:
            if self.settings.compile == "yes":
                raise
            print(f"Training goes on without compiling. {error}", file=sys.stderr)
            self.compiled = False
            return self.eager_step(batch, weight, capacity)

    def losses(
        self, x: Tensor | None, batch: Tensor, weight: float, capacity: float | None
    ) -> list[Tensor]:
        r"""Returns the terms of the bound for some rows, and leaves the gradients of its loss."""
        x = self.data.rows(batch) if x is None else x
        if isinstance(self.objective, ELBO):
            self.objective.capacity = capacity
        weighed = scale_kl(weight) if self.weighs_kl else contextlib.nullcontext()
        low = self.settings.precision == "bfloat16"
        with self.sigma, weighed, torch.autocast(x.device.type, torch.bfloat16, enabled=low):
            terms = self.objective(self.vae.model, self.vae.guide, x, **self.known(batch))
        terms.loss.backward()
        return [term.detach() for term in terms]

    def known(self, rows: Tensor) -> dict[str, Any]:
        r"""What the programs take of some rows besides `x`."""
        known = self.data.known_at(rows)
        return {**known, "index": rows} if self.wants_rows else known

    def read_figures(self) -> None:
        r"""Takes the figures of steps from the device, and adds them to the epoch's."""
        at = self.position
        names = ("loss", "reconstruction", "kl", "grad_norm")
        counts = [count for _, count in self.pending]
        rows = torch.stack([figures for figures, _ in self.pending]).tolist() if counts else []
        self.pending.clear()
        for figures, count in zip(rows, counts):
            if not all(map(math.isfinite, figures)):
                self.bad_step(figures)
                continue
            at.bad_steps = 0
            for name, figure in zip(names, figures):
                at.sums[name] = at.sums.get(name, 0.0) + figure * count
            at.sums["count"] = at.sums.get("count", 0.0) + count

    def bad_step(self, figures: list[float]) -> None:
        r"""Counts a step that was not taken, and gives up after too many in a row."""
        self.position.bad_steps += 1
        if self.position.bad_steps >= self.settings.max_bad_steps:
            some = self.folder is not None and (self.folder / "checkpoints").exists()
            kept = f" The last checkpoint is in {self.folder}." if some else ""
            raise NumericsError(
                f"Expected finite losses and gradients; got loss {figures[0]} and gradient norm "
                f"{figures[3]} in {self.position.bad_steps} steps in a row, up to step "
                f"{self.position.step}. The parameters are those before. Lower train.lr or set "
                f"train.clip_norm.{kept}"
            )

    def set_temperatures(self) -> None:
        r"""Sets the temperature of relaxed families."""
        at = self.position
        if self.settings.final_temperature is not None:
            at.temperatures = at.temperatures or [float(m.temperature) for m in self.relaxed]
            for module, start in zip(self.relaxed, at.temperatures):
                module.temperature.fill_(self.schedule.temperature(at.step, start))

    # --- Measuring ------------------------------------------------------------------------------

    def log_epoch(self) -> None:
        r"""Writes the epoch's row: means in which every datum weighs the same."""
        self.read_figures()
        at = self.position
        sums, at.sums = at.sums, {}
        count = sums.pop("count", 0.0)
        means = {
            name: value if name in ("kl_weight", "lr") else value / count
            for name, value in sums.items()
        }
        activity = self.activity()
        means["active_units"] = int((activity > ACTIVE).sum())
        self.log({"step": at.step, "epoch": at.epoch, **means, "seconds": round(at.seconds, 3)})
        warning = self.watch.update(activity)
        if warning is not None:
            self.log({"step": at.step, "epoch": at.epoch, "warning": warning})

    def warn_of_rise(self) -> None:
        r"""Says so where training ended far above where it began."""
        losses = self.history["loss"]
        if self.first_loss is None or not losses:
            return
        if losses[-1] > self.first_loss + FAR * (1 + abs(self.first_loss)):
            told = (
                f"The loss ended at {losses[-1]:.3g} nats per datum, far above the "
                f"{self.first_loss:.3g} at the start. Lower train.lr, or set train.clip_norm."
            )
            at = self.position
            self.log({"step": at.step, "epoch": at.epoch, "warning": told})

    def activity(self) -> Tensor:
        r"""The variance of the posterior mean of each latent unit over some training data."""
        rows = self.data.spread(ROWS_WATCHED)
        seen = self.data.take(rows)
        if self.wants_rows:
            seen = seen.knowing(index=rows)
        return active_units(self.vae, seen, seed=self.seed)

    def validate(self) -> None:
        r"""Measures the ELBO of the validation data; keeps the best parameters with patience."""
        assert self.valid is not None
        at, patience = self.position, self.settings.patience
        bounds = elbo(self.vae, self.valid, seed=self.seed, skip_checks=True)
        mean = Mean.of(bounds)
        bound = mean.value
        self.log({"step": at.step, "epoch": at.epoch, **mean.record("elbo")})
        if patience is None:
            return
        if math.isfinite(bound) and (at.best_elbo is None or bound > at.best_elbo):
            at.best_elbo, at.epochs_since_best = bound, 0
            self.best = {k: v.detach().clone() for k, v in self.vae.state_dict().items()}
        else:
            at.epochs_since_best += 1
            at.finished = at.epochs_since_best >= patience

    def log(self, row: dict[str, Any]) -> None:
        self.history.rows.append(row)
        self.bar.show(row)
        if self.folder is not None:
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
                self.position.metrics_bytes = file.tell()

    # --- Stopping and going on ------------------------------------------------------------------

    def save(self) -> None:
        r"""Writes a checkpoint from which :meth:`restore` goes on bit for bit."""
        self.read_figures()
        if self.folder is None:
            return
        optimizer, numbers = checkpoint.pack_optimizer(self.optimizer, self.names())
        checkpoint.save(
            self.folder,
            self.position.step,
            tensors={
                "model": self.vae.state_dict(),
                "best": self.best,
                "objective": self.objective.state_dict(),
                "optimizer": optimizer,
                "rng": checkpoint.get_rng_state(device_of(self.vae)),
            },
            state={
                "position": asdict(self.position),
                "optimizer": numbers,
                "settings": self.settings.model_dump(mode="json"),
                "seed": self.seed,
                "data": self.fingerprint,
                "families": families(self.vae),
                "compiled": self.compiled,
                "matrix_products": self.library,
                "environment": checkpoint.environment(device_of(self.vae)),
                "record": self.record,
                "columns": [[name, list(codes)] for name, codes in self.data.columns],
            },
        )
        self.saved = time.monotonic()
        self.on_save()

    def restore(self) -> None:
        r"""Goes back to the newest checkpoint of the folder."""
        assert self.folder is not None
        source = checkpoint.newest(self.folder)
        tensors, state = checkpoint.read(source)
        with checkpoint.understood(source):
            self.take_up(source, tensors, state)

    def take_up(self, source: Path, tensors: Any, state: Mapping[str, Any]) -> None:
        r"""Takes parameters, optimizer, position and random state from a checkpoint."""
        assert self.folder is not None
        self.check_same(state)
        checkpoint.load_parameters(self.vae, tensors["model"], source)
        if tensors["objective"]:
            checkpoint.load_parameters(self.objective, tensors["objective"], source)
        checkpoint.unpack_optimizer(self.optimizer, tensors["optimizer"], state["optimizer"])
        self.compiled = state.get("compiled", False)
        self.library = state.get("matrix_products")
        device = device_of(self.vae)
        self.best = {name: value.to(device) for name, value in tensors["best"].items()}
        self.position = Position(**state["position"])
        stopped_early = self.position.epoch < state["settings"]["epochs"]
        if self.position.finished and not stopped_early:
            self.position.finished = False  # more epochs may be asked for now
        metrics = self.folder / "metrics.jsonl"
        with metrics.open("a+b") as file:
            file.truncate(self.position.metrics_bytes)
        self.history.rows = [
            json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()
        ]
        checkpoint.set_rng_state(tensors["rng"], device)

    def check_same(self, state: Mapping[str, Any]) -> None:
        r"""Refuses to go on with other settings or data; says what differs about the machine."""
        settings = self.settings.model_dump(mode="json")
        changed = [
            f"{key} was {old} and is {settings.get(key)}"
            for key, old in state["settings"].items()
            if key != "epochs" and settings.get(key) != old
        ]
        if state["seed"] != self.seed:
            changed.append(f"seed was {state['seed']} and is {self.seed}")
        if state["data"] != self.fingerprint:
            changed.append("the training data differ")
        for old, new in zip(state.get("families", ()), families(self.vae)):
            changed += [f"{old} is now {new}"] if old != new else []
        if changed:
            raise ValueError(
                f"Expected the training that {self.folder} holds; got another one: "
                f"{'; '.join(changed)}. Only epochs may change."
            )
        here = checkpoint.environment(device_of(self.vae))
        for key, there in state["environment"].items():
            if here.get(key) != there:
                print(
                    f"Resuming with {key} {here.get(key)} where it was {there}: the numbers may "
                    "differ from an uninterrupted training.",
                    file=sys.stderr,
                )

    def names(self) -> list[str]:
        return [
            f"{prefix}{name}"
            for prefix, module in (("", self.vae), ("objective.", self.objective))
            for name, p in module.named_parameters()
            if p.requires_grad
        ]
