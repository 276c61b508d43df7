r"""One gradient step, in PyTorch or as one compiled graph."""

import contextlib
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from ..checks import first_rows
from ..compile.counter import CounterNoise
from ..config import Train
from ..data import Split
from ..nn import Codebook, views_of
from ..objectives import ELBO, Objective, scale_kl, track_codebook, track_sigma
from ..programs import device_of, wants_rows
from ..randomness import apart

if TYPE_CHECKING:
    from ..compile import FusedStep
    from ..compile.ahead import Ahead
    from ..compile.cache import Taken

STEPS_TO_COMPILE = 10_000  # fewer are not worth a compilation
STEPS_MEANWHILE = 1000  # taken in PyTorch while a step is compiled
OPERATIONS_TO_COMPILE = 3000  # more, as long chains have, compile for minutes and gain little


class Step(Protocol):
    r"""A gradient step on the loss of the rows, unless it would not be finite.

    Attributes:
        compiled: Whether it runs as a compiled graph, which checkpoints record.
        first: How many steps are taken before, in PyTorch.
    """

    @property
    def compiled(self) -> bool: ...

    @property
    def first(self) -> int: ...

    def prepare(
        self, rows: Tensor, weight: float, capacity: float | None, *more: float
    ) -> Callable[[], Tensor]:
        r"""Does what may fail before anything moves; what it returns takes the step."""

    def __call__(self, rows: Tensor, weight: float, capacity: float | None) -> Tensor:
        r"""Takes the step.

        Arguments:
            rows: The numbers of the rows, of shape `(B,)`.
            weight: The weight of the KL term.
            capacity: The capacity of the KL term in nats, or None without one.

        Returns:
            Loss, reconstruction, KL term and norm of the gradient, of shape `(4,)`; not finite
            if the step was not taken.
        """


class Loss:
    r"""The terms of the bound for rows of the training data; their gradients go into ``.grad``.

    Attributes:
        noise: Where random numbers come from, if not from PyTorch's generators.
    """

    def __init__(self, vae: Any, objective: Objective, data: Split, settings: Train) -> None:
        self.vae, self.objective, self.data = vae, objective, data
        self.sigma = track_sigma(getattr(vae, "likelihood", None))
        coded = any(isinstance(module, Codebook) for module in vae.modules())
        self.codes = track_codebook() if coded else contextlib.nullcontext()
        self.wants_rows = wants_rows(vae)
        self.weighs_kl = settings.kl_weight != 1 or settings.kl_warmup_epochs > 0
        self.low = settings.precision == "bfloat16"
        self.drop_views = settings.drop_views
        self.views = views_of(vae) if self.drop_views else None
        self.noise: CounterNoise | None = None
        with apart(device_of(vae)):
            x, known = first_rows(vae, data, 2)
        objective.prepare(vae.guide, x, **known)
        objective.num_data = len(data)

    def read(self, rows: Tensor) -> Tensor:
        r"""Returns the data of these rows, whose bits may be drawn."""
        with self.noise.data() if self.noise else contextlib.nullcontext():
            return self.data.rows(rows)

    def __call__(
        self, x: Tensor | None, rows: Tensor, weight: float, capacity: float | None
    ) -> list[Tensor]:
        r"""Returns loss, reconstruction and KL term; `x` are the data of these rows."""
        x = self.read(rows) if x is None else x
        x = x if self.views is None else self.views.hide(x, self.drop_views)
        known = self.data.known_at(rows)
        if self.wants_rows:
            known["index"] = rows
        if isinstance(self.objective, ELBO):
            self.objective.capacity = capacity
        weighed = scale_kl(weight) if self.weighs_kl else contextlib.nullcontext()
        low = torch.autocast(x.device.type, torch.bfloat16, enabled=self.low)
        with self.noise.program() if self.noise else contextlib.nullcontext():
            with self.sigma, self.codes, weighed, low:
                terms = self.objective(self.vae.model, self.vae.guide, x, **known)
            terms.loss.backward()
        return [term.detach() for term in terms]


class Eager:
    r"""Computes loss and gradients in PyTorch, and lets the optimizer step."""

    compiled, first = False, 0

    def __init__(self, loss: Loss, optimizer: Optimizer, settings: Train) -> None:
        self.loss, self.optimizer, self.clip_norm = loss, optimizer, settings.clip_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def prepare(self, rows: Tensor, *given: Any) -> Callable[[], Tensor]:
        return partial(self.take, self.loss.read(rows), rows, *given)

    def __call__(self, rows: Tensor, weight: float, capacity: float | None) -> Tensor:
        return self.prepare(rows, weight, capacity)()

    def take(self, *given: Any) -> Tensor:
        r"""Takes a step for the data of some rows."""
        self.optimizer.zero_grad()
        terms = self.loss(*given)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        metrics = torch.stack([*terms, norm])
        if metrics.isfinite().all():
            if self.clip_norm is not None:
                clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
            self.optimizer.step()
        return metrics


class Fused:
    r"""Does the same in one compiled graph.

    The first steps are taken in PyTorch while another process compiles. How many these are
    depends on the settings, not on a clock, so that one seed gives one training. A smaller last
    batch steps eagerly: one step per epoch is not worth its own graph. With ``compile="auto"``, a
    program that cannot be recorded, or has more than 3000 operations, continues eagerly.

    Arguments:
        eager: The step in PyTorch.
        settings: The settings of training.
        progress: Whether a line says that steps are compiled.
        first: How many steps are taken in PyTorch first.
        taken: How many steps have been taken.
    """

    compiled = True

    def __init__(
        self, eager: Eager, settings: Train, progress: bool, first: int = 0, taken: int = 0
    ) -> None:
        self.eager, self.settings, self.progress = eager, settings, progress
        self.size = min(settings.batch_size, len(eager.loss.data))
        self.first, self.taken = first, taken
        self.fused: FusedStep | None = None
        self.ahead: Ahead | None = None

    def __call__(self, rows: Tensor, weight: float, capacity: float | None) -> Tensor:
        return self.prepare(rows, weight, capacity)()

    def prepare(self, rows: Tensor, *given: Any) -> Callable[[], Tensor]:
        from ..compile import NotStatic  # imported here, as it takes a second

        self.taken += 1
        found = None
        if self.compiled and len(rows) == self.size:
            try:
                if self.taken > self.first:
                    found = self.find(rows, *given)
                elif self.fused is None:
                    self.begin(rows, *given)
            except NotStatic as error:
                if self.settings.compile == "yes":
                    raise
                print(f"Training continues without compiling. {error}", file=sys.stderr)
                self.compiled = False
        if found is None or self.fused is None:
            return self.eager.prepare(rows, *given)
        return partial(self.take, found)

    def begin(self, *args: Any) -> None:
        r"""Begins to compile the step, of such arguments."""
        self.fused = self.made()
        with apart(self.fused.device):
            self.ahead = self.fused.compile_ahead(self.rows(args[0]), *args)
        if self.progress:
            print("Steps are compiled meanwhile.", file=sys.stderr, flush=True)

    def take(self, found: "Taken") -> Tensor:
        r"""Takes a compiled step."""
        assert self.fused is not None
        return torch.stack(self.fused.take_step(found))

    def find(self, *args: Any) -> "Taken | None":
        r"""Returns the compiled step for such arguments; the first one waits for the compiler."""
        if self.ahead is not None:
            self.ahead.wait()
            self.ahead = None
        if self.fused is None:
            if self.progress:
                print("Compiling a step: 5 to 30 s, once.", file=sys.stderr, flush=True)
            self.fused = self.made()
        return self.fused.find((self.rows(args[0]), *args), {})

    def compares(self) -> bool:
        r"""Whether the step just prepared is also computed in PyTorch, to be compared."""
        from ..compile.step import is_checked_at

        if self.fused is None or self.taken <= self.first:
            return False
        latest = self.fused.cache.latest
        return is_checked_at(1 if latest is None else latest.calls + 1)

    def rows(self, rows: Tensor) -> Tensor | None:
        r"""Returns the data of these rows, unless the step reads them itself."""
        loss = self.eager.loss
        return None if isinstance(loss.data.stored, Tensor) else loss.read(rows)

    def made(self) -> "FusedStep":
        r"""Creates the step, which is recorded and compiled at its first call."""
        from ..compile import FusedStep, optimized_parameters

        parameters = optimized_parameters(self.eager.optimizer)
        fused = FusedStep(self.eager.loss, parameters, clip_norm=self.eager.clip_norm)
        if self.settings.compile == "auto":
            fused.cache.most = OPERATIONS_TO_COMPILE
        return fused


def compiles(settings: Train, steps_per_epoch: int) -> bool:
    r"""Whether steps are compiled, which depends only on the settings."""
    if settings.compile == "auto":
        return settings.epochs * steps_per_epoch >= STEPS_TO_COMPILE
    return settings.compile == "yes"


def uncompiled_steps(settings: Train) -> int:
    r"""How many first steps are taken in PyTorch, where steps are compiled."""
    return STEPS_MEANWHILE if settings.compile == "auto" else 0
