r"""A training step as one function: loss, gradients, clipping and the optimizer's update."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .backend import Backend
from .cache import Cache, Compiled
from .externals import keep, restore, undisturbed_randomness
from .signature import Call
from .updates import UPDATES, State, Update

CHECKED = (2, 10, 100)  # calls whose graph is compared with the program; and every thousandth
TOLERANCE = 1e-3


class Mismatch(RuntimeError):
    r"""The graph is no longer what the program does."""


class Slot(NamedTuple):
    r"""A parameter, the optimizer that moves it, and how its own gradient is clipped."""

    parameter: Tensor
    optimizer: Optimizer
    group: dict[str, Any]
    clip_norm: float | None = None
    clip_value: float | None = None

    @property
    def update(self) -> Update | None:
        r"""The optimizer's update as a function of tensors, if there is one."""
        update = UPDATES.get(type(self.optimizer))
        return None if update is None or update.unsupported(self.group) else update

    def state(self, update: Update) -> State:
        r"""The optimizer's state for the parameter, made if there is none yet."""
        state = self.optimizer.state[self.parameter]
        for name in update.buffers(self.group):
            value = state.get(name)
            if name == "step" and not isinstance(value, Tensor):
                state[name] = torch.tensor(float(value or 0), device=self.parameter.device)
            elif value is None:
                state[name] = torch.zeros_like(self.parameter)
        return state

    def clip(self, gradient: Tensor) -> Tensor:
        r"""Shortens the parameter's own gradient."""
        if self.clip_norm is not None:
            gradient = gradient * _shorten(gradient.square().sum().sqrt(), self.clip_norm)
        if self.clip_value is not None:
            gradient = gradient.clamp(-self.clip_value, self.clip_value)
        return gradient


Gradients = Sequence[tuple[Slot, Tensor]]


class FusedStep:
    r"""Creates a training step that is recorded once for every kind of call, and compiled.

    A step whose loss or gradient is not finite leaves parameters and optimizers alone, and counts
    itself in `bad_steps`. Now and then the graph is compared with the program, run eagerly with
    the same random draws.

    Arguments:
        program: Computes a loss and its gradients into ``.grad``, and returns numbers or 0-dim
            tensors, the loss first.
        slots: The parameters.
        clip_norm: The norm to which the gradient of all parameters together is shortened.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        modules: Modules whose training mode the program depends on.
    """

    def __init__(
        self,
        program: Callable[..., Sequence[Any]],
        slots: Sequence[Slot],
        *,
        clip_norm: float | None = None,
        backend: Backend = "inductor",
        modules: Sequence[nn.Module] = (),
    ) -> None:
        self.program, self.slots, self.clip_norm = program, slots, clip_norm
        self.device = slots[0].parameter.device
        groups = {id(slot.group): slot.group for slot in slots}
        self.groups = list(groups.values())
        self.row = {key: i for i, key in enumerate(groups)}
        self.lrs: list[float] = []
        self.lr = torch.zeros(len(groups), dtype=torch.float64, device=self.device)
        self.bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.left = {s.optimizer: [] for s in slots if s.update is None}  # they step eagerly
        for slot in slots:
            if slot.update is None:
                gradient = torch.zeros_like(slot.parameter)
                self.left[slot.optimizer].append((slot.parameter, gradient))
            else:
                slot.state(slot.update)  # made now, so that the program does not make it
        self.buffers = {id(p): g for pairs in self.left.values() for p, g in pairs}
        self.cache = Cache(
            lambda args, kwargs: self.step(args, kwargs), self.device, backend, modules
        )

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        r"""Takes a step, and returns what the program returned and the norm of the gradient.

        Raises:
            NotStatic: Data decide the program's structure.
            Mismatch: The program has changed since it was recorded.
        """
        call = Call.of(args, kwargs)
        compiled = self.cache.get(call)
        self.set_learning_rates()
        inputs = compiled.inputs(call.inputs)
        compiled.calls += 1
        checked = compiled.calls in CHECKED or compiled.calls % 1000 == 0
        bad = int(self.bad_steps) if self.left else 0
        figures = self.check(compiled, call, inputs) if checked else compiled.function(*inputs)
        if self.left and int(self.bad_steps) == bad:
            self.step_eagerly()
        return list(figures)

    def several(self, steps: int, *args: Tensor, stacked: Sequence[bool]) -> list[Tensor]:
        r"""Takes several steps in one call; returns their figures, each of shape `(steps,)`.

        Arguments:
            steps: How many.
            args: The arguments; those `stacked` have one for each step.
            stacked: Which arguments do.
        """
        assert not self.left
        call = Call.of(args, {})
        compiled = self.cache.get(call, steps, stacked)
        self.set_learning_rates()
        compiled.calls += 1
        return list(compiled.function(*compiled.inputs(call.inputs)))

    def step(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        r"""One step, as it is recorded."""
        figures, gradients = self.evaluate(args, kwargs)
        with torch.no_grad():
            self.move(figures[0].isfinite() & figures[-1].isfinite(), gradients, figures[-1])
        return figures

    def evaluate(self, args: tuple, kwargs: dict[str, Any]) -> tuple[list[Tensor], Gradients]:
        r"""Returns the program's figures with the norm of the gradient, and the gradients."""
        for slot in self.slots:
            slot.parameter.grad = None
        with torch.enable_grad():
            figures = self.program(*args, **kwargs)
        gradients = [(s, s.parameter.grad) for s in self.slots if s.parameter.grad is not None]
        for slot in self.slots:
            slot.parameter.grad = None
        with torch.no_grad():
            norm = torch.stack([g.square().sum() for _, g in gradients]).sum().sqrt()
        return [*(torch.as_tensor(f, device=self.device) for f in figures), norm], gradients

    def move(self, finite: Tensor, gradients: Gradients, norm: Tensor) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        for slot, gradient in gradients:
            if self.clip_norm is not None:
                gradient = gradient * _shorten(norm, self.clip_norm)
            p, gradient, update = slot.parameter, slot.clip(gradient), slot.update
            if update is None:
                self.buffers[id(p)].copy_(gradient)
                continue
            old, lr = slot.state(update), self.lr[self.row[id(slot.group)]]
            value, new = update.apply(p, gradient, old, slot.group, lr)
            p.copy_(torch.where(finite, value, p))
            for name, state in new.items():
                old[name].copy_(torch.where(finite, state, old[name]))
        self.bad_steps.add_(~finite)

    def step_eagerly(self) -> None:
        r"""Lets the optimizers step whose update is not in the graph."""
        for optimizer, pairs in self.left.items():
            for parameter, gradient in pairs:
                parameter.grad = gradient
            optimizer.step()
            for parameter, _ in pairs:
                parameter.grad = None

    def set_learning_rates(self) -> None:
        r"""Hands the optimizers' learning rates to the graph."""
        for group in self.groups:
            if "lrd" in group:  # Pyro's ClippedAdam lowers its own
                group["lr"] *= group["lrd"]
        lrs = [float(group["lr"]) for group in self.groups]
        if lrs != self.lrs:
            self.lr.copy_(torch.tensor(lrs, dtype=torch.float64))
            self.lrs = lrs

    def check(self, compiled: Compiled, call: Call, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        r"""Takes a step after comparing what the graph does to what the program does now."""
        before = keep(compiled.graph.changed)
        with undisturbed_randomness():
            expected, _ = self.evaluate(*call.rebuild(inputs))
        restore(before)
        figures = compiled.function(*inputs)
        for got, want in zip(map(float, figures), map(float, expected)):
            if want == want and not abs(got - want) <= TOLERANCE * max(1.0, abs(want)):
                restore(before)
                raise Mismatch(
                    f"Expected the recorded step to do what the program does; got {got:.6g} for "
                    f"{want:.6g}. Something has changed that the graph holds fixed, such as a "
                    "Python attribute; pass it as an argument. No parameter has moved."
                )
        return figures


def _shorten(norm: Tensor, limit: float) -> Tensor:
    return (limit / (norm + 1e-6)).clamp(max=1)
