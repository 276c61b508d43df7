r"""A training step as one function: loss, gradients, clipping and the optimizer's update."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .backend import Backend
from .cache import Cache, Call, Compiled
from .externals import keep, restore, undisturbed_randomness
from .optimizers import OptimizedParameter, clip_factor, group_parameters

CHECKED = (2, 10, 100)  # calls whose graph is compared with the program; and every thousandth
TOLERANCE = 1e-3


class PartialGradients(Exception):
    r"""A program has gradients for some parameters of a group only."""


class Mismatch(RuntimeError):
    r"""The graph is no longer what the program does."""


Gradients = Sequence[tuple[OptimizedParameter, Tensor]]


class FusedStep:
    r"""Creates a training step that is recorded once for every kind of call, and compiled.

    A step whose loss or gradient is not finite leaves parameters and optimizers alone, and counts
    itself in `bad_steps`. Now and then the graph is compared with the program, run eagerly with
    the same random draws.

    Arguments:
        program: Computes a loss and its gradients into ``.grad``, and returns numbers or 0-dim
            tensors, the loss first.
        parameters: The parameters.
        clip_norm: The norm to which the gradient of all parameters together is shortened.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        modules: Modules whose training mode the program depends on.
    """

    def __init__(
        self,
        program: Callable[..., Sequence[Any]],
        parameters: Sequence[OptimizedParameter],
        *,
        clip_norm: float | None = None,
        backend: Backend = "inductor",
        modules: Sequence[nn.Module] = (),
    ) -> None:
        self.program, self.parameters, self.clip_norm = program, parameters, clip_norm
        self.device = parameters[0].parameter.device
        groups = {id(item.group): item.group for item in parameters}
        self.groups = list(groups.values())
        self.row = {key: i for i, key in enumerate(groups)}
        self.lrs: list[float] = []
        self.lr = torch.zeros(len(groups), dtype=torch.float64, device=self.device)
        self.bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.parameter_groups = group_parameters(parameters, together=True)
        outside = [item.parameter for item in parameters if not item.update]
        self.unfused = {p: torch.zeros_like(p) for p in outside}
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
        compiled = self.prepare(call)
        inputs = compiled.inputs(call.inputs)
        compiled.calls += 1
        checked = compiled.calls in CHECKED or compiled.calls % 1000 == 0
        bad = int(self.bad_steps) if self.unfused else 0
        outputs = self.check(compiled, call, inputs) if checked else compiled.function(*inputs)
        if self.unfused and int(self.bad_steps) == bad:
            self.step_eagerly()
        return list(outputs)

    def prepare(self, call: Call) -> Compiled:
        r"""Returns the step for a kind of call, with optimizers and learning rates in place."""
        self.set_learning_rates()
        for group in self.parameter_groups:
            if not group.is_adopted():
                group.adopt()
        try:
            return self.cache.get(call)
        except PartialGradients:
            self.ungroup()
            return self.cache.get(call)

    def step(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        r"""One step, as it is recorded."""
        outputs, gradients = self.evaluate(args, kwargs)
        with torch.no_grad():
            finite = outputs[0].isfinite() & outputs[-1].isfinite()
            self.update_parameters(finite, gradients, outputs[-1])
        return outputs

    def evaluate(self, args: tuple, kwargs: dict[str, Any]) -> tuple[list[Tensor], Gradients]:
        r"""Returns the program's outputs with the norm of the gradient, and the gradients."""
        for item in self.parameters:
            item.parameter.grad = None
        with torch.enable_grad():
            outputs = self.program(*args, **kwargs)
        gradients = [
            (s, s.parameter.grad) for s in self.parameters if s.parameter.grad is not None
        ]
        for item in self.parameters:
            item.parameter.grad = None
        with torch.no_grad():
            norm = torch.stack([g.square().sum() for _, g in gradients]).sum().sqrt()
        return [*(torch.as_tensor(f, device=self.device) for f in outputs), norm], gradients

    def update_parameters(self, finite: Tensor, gradients: Gradients, norm: Tensor) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        clipped = {}
        for item, gradient in gradients:
            if self.clip_norm is not None:
                gradient = gradient * clip_factor(norm, self.clip_norm)
            clipped[item.parameter] = item.clip(gradient)
        for group in self.parameter_groups:
            found = [clipped[s.parameter] for s in group.members if s.parameter in clipped]
            if len(found) == len(group.members):
                group.update_parameters(found, self.lr[self.row[id(group.group)]], finite)
            elif found:
                raise PartialGradients
        for parameter, buffer in self.unfused.items():
            buffer.copy_(clipped.get(parameter, torch.zeros_like(buffer)))
        self.bad_steps.add_(~finite)

    def ungroup(self) -> None:
        r"""Lets each parameter move by itself from now on, in graphs to be recorded again."""
        for group in self.parameter_groups:
            group.release()
        self.parameter_groups = group_parameters(self.parameters, together=False)
        self.cache.entries.clear()

    def step_eagerly(self) -> None:
        r"""Lets the optimizers step whose update is not in the graph."""
        for parameter, gradient in self.unfused.items():
            parameter.grad = gradient
        for optimizer in {
            s.optimizer: None for s in self.parameters if s.parameter in self.unfused
        }:
            optimizer.step()
        for parameter in self.unfused:
            parameter.grad = None

    def set_learning_rates(self) -> None:
        r"""Hands the optimizers' learning rates to the graph."""
        for group in self.groups:
            if "lrd" in group:  # Pyro's ClippedAdam lowers its own
                group["lr"] *= group["lrd"]
        lrs = [float(group["lr"]) for group in self.groups]
        if lrs != self.lrs:
            together = [
                {lrs[self.row[id(s.group)]] for s in b.members} for b in self.parameter_groups
            ]
            if any(len(rates) > 1 for rates in together):
                self.ungroup()
            self.lr.copy_(torch.tensor(lrs, dtype=torch.float64))
            self.lrs = lrs

    def check(self, compiled: Compiled, call: Call, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        r"""Takes a step after comparing what the graph does to what the program does now."""
        before = keep(compiled.graph.changed)
        with undisturbed_randomness():
            expected, _ = self.evaluate(*call.rebuild(inputs))
        restore(before)
        outputs = compiled.function(*inputs)
        for got, want in zip(map(float, outputs), map(float, expected)):
            alike = got == want or abs(got - want) <= TOLERANCE * max(1.0, abs(want))
            if want == want and not alike:  # infinities are alike, too
                restore(before)
                raise Mismatch(
                    f"Expected the recorded step to do what the program does; got {got:.6g} for "
                    f"{want:.6g}. Something has changed that the graph holds fixed, such as a "
                    "Python attribute; pass it as an argument. No parameter has moved."
                )
        return outputs
