r"""Training by stochastic variational inference, from first step to last.  (layer 6)"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from tqdm import tqdm

from . import checkpoint
from .config import Train, suggestion, validate
from .data import Split, as_split, fingerprint
from .evaluate import elbo as evaluate_elbo
from .evaluate.checks import check_data
from .evaluate.pure import device_of
from .objectives import ELBO, scale_kl, warm_up

LINES = 20  # progress lines where there is no terminal


class NumericsError(ArithmeticError):
    r"""The loss or its gradient stayed non-finite; the parameters are those of the last good step."""


@dataclass
class History:
    r"""What training measured: the rows of ``metrics.jsonl``.

    One row an epoch has `step`, `epoch`, `loss`, `reconstruction`, `kl` (nats per datum, every
    datum weighing the same), `kl_weight`, `grad_norm`, `lr` and `seconds`; one row a validation
    has `step`, `epoch`, `elbo` and `elbo_se`.
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


def fit(
    vae: Any,
    data: Tensor | np.ndarray | Split,
    *,
    valid: Tensor | np.ndarray | Split | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    record: Mapping[str, Any] | None = None,
    **options: Any,
) -> History:
    r"""Trains a VAE in place, on the device where its parameters are.

    Each step maximizes the ELBO (:class:`pyro_vae.objectives.ELBO`) of a minibatch: data are
    gathered by index, binarized if they are to be, and the gradient is the mean over the actual
    batch. A step whose loss or gradient is not finite leaves the parameters alone.

    Arguments:
        vae: The VAE.
        data: The training data, of shape `(N, *x_shape)`.
        valid: Validation data; their ELBO is measured after every epoch.
        seed: Seeds the order of the data, the bits and the noise. Random numbers outside go on
            undisturbed.
        out: A folder for ``metrics.jsonl`` and checkpoints. With it, SIGINT and SIGTERM finish
            the step and save before they stop the process.
        resume: Continues from the newest checkpoint in `out`, bit for bit as if never stopped.
        progress: Shows a bar on a terminal, plain lines elsewhere.
        record: Anything JSON that is to stand in every checkpoint, such as the recipe.
        options: The settings of :class:`pyro_vae.config.Train` by name: `epochs`, `batch_size`,
            `optimizer` (any of :mod:`torch.optim`), `lr`, `optimizer_options`, `schedule`,
            `warmup_epochs`, `clip_norm`, `kl_weight`, `kl_warmup_epochs`, `num_particles`,
            `patience`, `max_bad_steps`, `checkpoint_steps`.

    Returns:
        The history of training.

    Raises:
        ValueError: Options or data are wrong; nothing has changed.
        NumericsError: Too many consecutive steps were not finite.
        CheckpointError: A checkpoint could not be written or read.
    """
    settings: Train = validate(options, Train)
    if settings.patience is not None and valid is None:
        raise ValueError("Expected validation data with patience; got none. Give `valid`.")
    if resume and out is None:
        raise ValueError("Expected a folder to resume from; got resume=True without `out`.")

    device = device_of(vae)
    train = as_split(data, "training data").to(device)
    check_data(vae, train)
    held_out = None
    if valid is not None:
        held_out = as_split(valid, "validation data").freeze(seed).to(device)
        check_data(vae, held_out)
    optimizer = make_optimizer(vae, settings)

    with contextlib.ExitStack() as stack:
        stack.enter_context(
            torch.random.fork_rng([device] if device.type == "cuda" else [])
        )
        stack.enter_context(pyro.validation_enabled(False))  # checked above
        torch.manual_seed(seed)
        run = Run(vae, optimizer, settings, train, held_out, seed, record)
        if out is not None:
            run.folder = Path(out)
            run.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(checkpoint.lock(run.folder))
            if resume:
                run.restore()
            else:
                run.start()
            run.stop = stack.enter_context(stop_signals())
        run.bar = stack.enter_context(Bar(progress, settings.epochs, run.steps_per_epoch))
        run.train()
    return run.history


class Run:
    r"""One training: what it holds, step by step. Made by :func:`fit`."""

    def __init__(
        self,
        vae: Any,
        optimizer: Optimizer,
        settings: Train,
        data: Split,
        valid: Split | None,
        seed: int,
        record: Mapping[str, Any] | None,
    ) -> None:
        self.vae, self.optimizer, self.settings = vae, optimizer, settings
        self.data, self.valid, self.seed, self.record = data, valid, seed, record
        self.parameters = [p for p in vae.parameters() if p.requires_grad]
        self.objective = ELBO(settings.num_particles)
        self.steps_per_epoch = math.ceil(len(data) / settings.batch_size)
        self.position, self.history = Position(), History()
        self.best: dict[str, Tensor] = {}
        self.folder: Path | None = None
        self.stop: list[int] = []
        self.bar: Bar

    # --- The loop -------------------------------------------------------------------------------

    def train(self) -> None:
        r"""Trains until the last epoch, or until the validation ELBO stops rising."""
        at = self.position
        self.vae.train()
        while not at.finished and at.epoch < self.settings.epochs:
            self.epoch()
        at.finished = True
        if self.best:
            self.vae.load_state_dict(self.best)

    def epoch(self) -> None:
        r"""Visits every datum once, from the batch where training stands."""
        at, size, start = self.position, self.settings.batch_size, time.perf_counter()
        order = np.random.default_rng((self.seed, at.epoch)).permutation(len(self.data))
        order = torch.from_numpy(order).to(device_of(self.vae))

        for batch in order.split(size)[at.batch :]:
            self.step(self.data.rows(batch))
            at.batch += 1
            self.bar.advance(at)
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
        self.save()

    def step(self, x: Tensor) -> None:
        r"""Takes one gradient step on the negative ELBO, unless it would not be finite."""
        at, settings = self.position, self.settings
        lr = settings.lr * self.lr_factor()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        weight = settings.kl_weight * warm_up(
            at.step, settings.kl_warmup_epochs * self.steps_per_epoch
        )

        self.optimizer.zero_grad()
        with scale_kl(weight):
            terms = self.objective(self.vae.model, self.vae.guide, x)
        terms.loss.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        figures = torch.stack([*(term.detach() for term in terms), norm]).tolist()

        at.step += 1
        if not all(map(math.isfinite, figures)):
            self.bad_step(figures)
            return
        at.bad_steps = 0
        if settings.clip_norm is not None:
            clip_grads_with_norm_(self.parameters, settings.clip_norm, norm)
        self.optimizer.step()

        names = ("loss", "reconstruction", "kl", "grad_norm")
        for name, figure in zip(names, figures):
            at.sums[name] = at.sums.get(name, 0.0) + figure * len(x)
        at.sums["count"] = at.sums.get("count", 0.0) + len(x)
        at.sums["kl_weight"], at.sums["lr"] = weight, lr

    def bad_step(self, figures: list[float]) -> None:
        r"""Counts a step that was not taken, and gives up after too many in a row."""
        self.position.bad_steps += 1
        if self.position.bad_steps >= self.settings.max_bad_steps:
            kept = f" The last checkpoint is in {self.folder}." if self.folder else ""
            raise NumericsError(
                f"Expected finite losses and gradients; got loss {figures[0]} and gradient norm "
                f"{figures[3]} in {self.position.bad_steps} steps in a row, up to step "
                f"{self.position.step}. The parameters are those before. Lower train.lr or set "
                f"train.clip_norm.{kept}"
            )

    def lr_factor(self) -> float:
        r"""The learning rate of this step, as a fraction of its highest value."""
        at, settings = self.position, self.settings
        factor = warm_up(at.step + 1, settings.warmup_epochs * self.steps_per_epoch)
        if settings.schedule == "cosine":
            done = at.step / (settings.epochs * self.steps_per_epoch)
            factor *= (1 + math.cos(math.pi * done)) / 2
        return factor

    # --- Measuring ------------------------------------------------------------------------------

    def log_epoch(self) -> None:
        r"""Writes the epoch's row: means in which every datum weighs the same."""
        at = self.position
        sums, at.sums = at.sums, {}
        count = sums.pop("count", 0.0)
        means = {
            name: value if name in ("kl_weight", "lr") else value / count
            for name, value in sums.items()
        }
        self.log({"step": at.step, "epoch": at.epoch, **means, "seconds": round(at.seconds, 3)})

    def validate(self) -> None:
        r"""Measures the ELBO of the validation data; keeps the best parameters with patience."""
        assert self.valid is not None
        at, patience = self.position, self.settings.patience
        bounds = evaluate_elbo(self.vae, self.valid, seed=self.seed)
        bound = float(bounds.mean())
        error = float(bounds.std()) / math.sqrt(len(bounds)) if len(bounds) > 1 else math.nan
        self.log({"step": at.step, "epoch": at.epoch, "elbo": bound, "elbo_se": error})
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

    def start(self) -> None:
        r"""Makes sure that the folder holds no other training."""
        assert self.folder is not None
        if (self.folder / "checkpoints").exists():
            raise ValueError(
                f"Expected a folder without a training; got {self.folder}, which holds one. "
                "Resume it (--resume), or choose another folder (--out)."
            )
        (self.folder / "metrics.jsonl").unlink(missing_ok=True)

    def save(self) -> None:
        r"""Writes a checkpoint from which :meth:`restore` goes on bit for bit."""
        if self.folder is None:
            return
        optimizer, numbers = checkpoint.pack_optimizer(self.optimizer, self.names())
        checkpoint.save(
            self.folder,
            self.position.step,
            tensors={
                "model": self.vae.state_dict(),
                "best": self.best,
                "optimizer": optimizer,
                "rng": checkpoint.get_rng_state(device_of(self.vae)),
            },
            state={
                "position": asdict(self.position),
                "optimizer": numbers,
                "settings": self.settings.model_dump(mode="json"),
                "seed": self.seed,
                "data": fingerprint(self.data),
                "environment": environment(device_of(self.vae)),
                "record": self.record,
            },
        )

    def restore(self) -> None:
        r"""Goes back to the newest checkpoint of the folder."""
        assert self.folder is not None
        source = checkpoint.newest(self.folder)
        tensors, state = checkpoint.read(source)
        self.check_same(state)
        checkpoint.load_parameters(self.vae, tensors["model"], source)
        checkpoint.unpack_optimizer(self.optimizer, tensors["optimizer"], state["optimizer"])
        device = device_of(self.vae)
        self.best = {name: value.to(device) for name, value in tensors["best"].items()}
        self.position = Position(**state["position"])
        stopped_early = self.position.epoch < state["settings"]["epochs"]
        if self.position.finished and not stopped_early:
            self.position.finished = False  # more epochs may be asked for now
        metrics = self.folder / "metrics.jsonl"
        with metrics.open("a+b") as file:
            file.truncate(self.position.metrics_bytes)
        self.history.rows = [json.loads(line) for line in metrics.open(encoding="utf-8")]
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
        if state["data"] != fingerprint(self.data):
            changed.append("the training data differ")
        if changed:
            raise ValueError(
                f"Expected the training that {self.folder} holds; got another one: "
                f"{'; '.join(changed)}. Only epochs may change."
            )
        here = environment(device_of(self.vae))
        for key, there in state["environment"].items():
            if here.get(key) != there:
                print(
                    f"Resuming with {key} {here.get(key)} where it was {there}: the numbers may "
                    "differ from an uninterrupted training.",
                    file=sys.stderr,
                )

    def names(self) -> list[str]:
        return [name for name, p in self.vae.named_parameters() if p.requires_grad]


def make_optimizer(vae: nn.Module, settings: Train) -> Optimizer:
    r"""Creates an optimizer of :mod:`torch.optim` by name.

    Raises:
        ValueError: There is no such optimizer, or it does not take the options.
    """
    known = {
        name: cls
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
    }
    cls = known.get(settings.optimizer)
    if cls is None or settings.optimizer in ("LBFGS", "SparseAdam"):
        hint = suggestion(settings.optimizer, known) or " (Adam is a good start)"
        raise ValueError(
            f"Expected a first-order optimizer of torch.optim; got {settings.optimizer!r}{hint}."
        )
    parameters = [p for p in vae.parameters() if p.requires_grad]
    try:
        return cls(parameters, lr=settings.lr, **settings.optimizer_options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected options of torch.optim.{settings.optimizer}; got "
            f"{settings.optimizer_options}: {error}."
        ) from None


def environment(device: torch.device) -> dict[str, Any]:
    r"""What a bit-for-bit continuation needs to be the same."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": name}


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    r"""Collects the first SIGINT or SIGTERM instead of dying of it; the second one kills."""
    received: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        print(f"\n{signal.Signals(number).name}: saving after this step.", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(number: int) -> None:
    r"""Stops as the signal would have, now that everything is saved."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


class Bar:
    r"""A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, enabled: bool, epochs: int, steps_per_epoch: int) -> None:
        self.epochs, self.enabled = epochs, enabled
        self.every = max(1, epochs // LINES)
        terminal = enabled and sys.stderr.isatty()
        self.bar = tqdm(total=epochs * steps_per_epoch, unit="step") if terminal else None

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, at: Position) -> None:
        if self.bar is not None:
            self.bar.update(at.step - self.bar.n)

    def show(self, row: Mapping[str, Any]) -> None:
        r"""Shows a row of the history."""
        if "elbo" in row:
            text = f"validation ELBO {row['elbo']:.2f} +- {row['elbo_se']:.2f} nats"
        else:
            terms = [f"{name} {row[name]:.2f}" for name in ("loss", "kl") if name in row]
            text = f"epoch {row['epoch']}/{self.epochs}  {'  '.join(terms)} nats per datum"
        if self.bar is not None:
            self.bar.set_postfix_str(text)
        elif self.enabled and (row["epoch"] % self.every == 0 or row["epoch"] == self.epochs):
            print(text, flush=True)
