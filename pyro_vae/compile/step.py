r"""A training step as one function: loss, gradients, clipping and the optimizer's update."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .backend import Backend, Library
from .cache import Cache, Compiled
from .externals import keep, restore, undisturbed_randomness
from .signature import Call
from .slots import Slot, bunches, shorten

CHECKED = (2, 10, 100)  # calls whose graph is compared with the program; and every thousandth
TOLERANCE = 1e-3


class Apart(Exception):
    r"""A program has gradients for some parameters of a bunch only."""


class Mismatch(RuntimeError):
    r"""The graph is no longer what the program does."""


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
        library: What computes large matrix products on a CPU; the faster one by default.
    """

    def __init__(
        self,
        program: Callable[..., Sequence[Any]],
        slots: Sequence[Slot],
        *,
        clip_norm: float | None = None,
        backend: Backend = "inductor",
        modules: Sequence[nn.Module] = (),
        library: Library | None = None,
    ) -> None:
        self.program, self.slots, self.clip_norm = program, slots, clip_norm
        self.device = slots[0].parameter.device
        groups = {id(slot.group): slot.group for slot in slots}
        self.groups = list(groups.values())
        self.row = {key: i for i, key in enumerate(groups)}
        self.lrs: list[float] = []
        self.lr = torch.zeros(len(groups), dtype=torch.float64, device=self.device)
        self.bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.bunches = bunches(slots, together=True)
        self.left = {s.parameter: torch.zeros_like(s.parameter) for s in slots if not s.update}
        self.cache = Cache(
            lambda args, kwargs: self.step(args, kwargs), self.device, backend, modules, library
        )

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        r"""Takes a step, and returns what the program returned and the norm of the gradient.

        Raises:
            NotStatic: Data decide the program's structure.
            Mismatch: The program has changed since it was recorded.
        """
        call = Call.of(args, kwargs)
        compiled = self.prepare(call)
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
        compiled = self.prepare(call, steps, stacked)
        compiled.calls += 1
        return list(compiled.function(*compiled.inputs(call.inputs)))

    def prepare(self, call: Call, steps: int = 1, stacked: Sequence[bool] = ()) -> Compiled:
        r"""Returns the step for a kind of call, with optimizers and learning rates in place."""
        self.set_learning_rates()
        for bunch in self.bunches:
            if not bunch.is_adopted():
                bunch.adopt()
        try:
            return self.cache.get(call, steps, stacked)
        except Apart:
            self.part()
            return self.cache.get(call, steps, stacked)

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
        clipped = {}
        for slot, gradient in gradients:
            if self.clip_norm is not None:
                gradient = gradient * shorten(norm, self.clip_norm)
            clipped[slot.parameter] = slot.clip(gradient)
        for bunch in self.bunches:
            found = [clipped[s.parameter] for s in bunch.slots if s.parameter in clipped]
            if len(found) == len(bunch.slots):
                bunch.move(found, self.lr[self.row[id(bunch.group)]], finite)
            elif found:
                raise Apart
        for parameter, buffer in self.left.items():
            buffer.copy_(clipped.get(parameter, torch.zeros_like(buffer)))
        self.bad_steps.add_(~finite)

    def part(self) -> None:
        r"""Lets each parameter move by itself from now on, in graphs to be recorded anew."""
        for bunch in self.bunches:
            bunch.release()
        self.bunches = bunches(self.slots, together=False)
        self.cache.entries.clear()

    def step_eagerly(self) -> None:
        r"""Lets the optimizers step whose update is not in the graph."""
        for parameter, gradient in self.left.items():
            parameter.grad = gradient
        for optimizer in {s.optimizer: None for s in self.slots if s.parameter in self.left}:
            optimizer.step()
        for parameter in self.left:
            parameter.grad = None

    def set_learning_rates(self) -> None:
        r"""Hands the optimizers' learning rates to the graph."""
        for group in self.groups:
            if "lrd" in group:  # Pyro's ClippedAdam lowers its own
                group["lr"] *= group["lrd"]
        lrs = [float(group["lr"]) for group in self.groups]
        if lrs != self.lrs:
            together = [{lrs[self.row[id(s.group)]] for s in b.slots} for b in self.bunches]
            if any(len(rates) > 1 for rates in together):
                self.part()
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
            alike = got == want or abs(got - want) <= TOLERANCE * max(1.0, abs(want))
            if want == want and not alike:  # infinities are alike, too
                restore(before)
                raise Mismatch(
                    f"Expected the recorded step to do what the program does; got {got:.6g} for "
                    f"{want:.6g}. Something has changed that the graph holds fixed, such as a "
                    "Python attribute; pass it as an argument. No parameter has moved."
                )
        return figures
