r"""A training step as one function: loss, gradients, clipping and the optimizer's update."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.optim import Optimizer

from .backend import Backend, Function, compile_graph
from .externals import Externals, undisturbed_randomness
from .graph import Graph, record
from .signature import Call, Inputs
from .updates import UPDATES, State, Update

CHECKED_STEPS = (2, 10, 100)  # and every thousandth
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

    @property
    def state(self) -> State:
        r"""The optimizer's state for the parameter, made if there is none yet."""
        assert self.update is not None
        state = self.optimizer.state[self.parameter]
        for name in self.update.buffers(self.group):
            value = state.get(name)
            if name == "step" and not isinstance(value, Tensor):
                state[name] = torch.tensor(float(value or 0), device=self.parameter.device)
            elif value is None:
                state[name] = torch.zeros_like(self.parameter)
        return state


@dataclass
class Compiled:
    r"""A step for one kind of call."""

    graph: Graph
    function: Function
    inputs: Inputs
    seconds: float
    calls: int = 0


@dataclass
class FusedStep:
    r"""Creates a training step that is recorded once for every kind of call, and compiled.

    A step whose loss or gradient is not finite leaves parameters and optimizers alone, and counts
    itself in `bad_steps`.

    Arguments:
        program: Computes a loss and its gradients into ``.grad``, and returns 0-dim tensors, the
            loss first.
        slots: The parameters.
        clip_norm: The norm to which the gradient of all parameters together is shortened.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        modules: Modules whose training mode the program depends on.
    """

    program: Callable[..., Sequence[Tensor]]
    slots: Sequence[Slot]
    clip_norm: float | None = None
    backend: Backend = "inductor"
    modules: Sequence[torch.nn.Module] = ()
    compiled: dict[Hashable, Compiled] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.device = self.slots[0].parameter.device
        groups = {id(slot.group): slot.group for slot in self.slots}
        self.groups = list(groups.values())
        self.lr = torch.zeros(len(self.groups), dtype=torch.float64, device=self.device)
        self.lrs: list[float] = []
        self.bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        r"""Takes a step, and returns what the program returned and the norm of the gradient.

        Raises:
            NotStatic: Data decide the program's structure.
            Mismatch: The program has changed since it was recorded.
        """
        call = Call.of(args, kwargs)
        key = (call.key, tuple(module.training for module in self.modules))
        if key not in self.compiled:
            self.compiled[key] = self.compile(call)
        compiled = self.compiled[key]
        self.set_learning_rates()
        inputs = compiled.inputs(call.inputs)
        compiled.calls += 1
        if compiled.calls in CHECKED_STEPS or compiled.calls % 1000 == 0:
            return self.check(compiled, call, inputs)
        return list(compiled.function(*inputs))

    def compile(self, call: Call) -> Compiled:
        r"""Records and compiles the step for a kind of call."""
        start = time.perf_counter()
        inputs = Inputs(call.inputs, self.device)
        tensors = inputs(call.inputs)
        for slot in self.slots:
            assert slot.state is not None  # made now, so that it is met and not made in the graph
        graph = record(lambda *tensors: self.step(*self.rebuilt(call, tensors)), tensors)
        for slot in self.slots:
            slot.parameter.grad = None
        function = compile_graph(graph, tensors, self.backend)
        return Compiled(graph, function, inputs, time.perf_counter() - start)

    def step(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        r"""One step, as it is recorded."""
        for slot in self.slots:
            slot.parameter.grad = None
        figures = self.program(*args, **kwargs)
        figures = [torch.as_tensor(figure, device=self.device) for figure in figures]
        with torch.no_grad():
            return [*figures, self.update(figures[0])]

    def update(self, loss: Tensor) -> Tensor:
        r"""Moves the parameters along their gradients, and returns the norm of these."""
        gradients = {i: s.parameter.grad for i, s in enumerate(self.slots)}
        moved = [i for i, gradient in gradients.items() if gradient is not None]
        norm = torch.stack([gradients[i].square().sum() for i in moved]).sum().sqrt()
        finite = norm.isfinite() & loss.isfinite()
        shorten = None
        if self.clip_norm is not None:
            shorten = (self.clip_norm / (norm + 1e-6)).clamp(max=1)

        for i in moved:
            slot, gradient = self.slots[i], gradients[i]
            gradient = gradient if shorten is None else gradient * shorten
            if slot.clip_norm is not None:
                own = gradient.square().sum().sqrt()
                gradient = gradient * (slot.clip_norm / (own + 1e-6)).clamp(max=1)
            if slot.clip_value is not None:
                gradient = gradient.clamp(-slot.clip_value, slot.clip_value)
            p, old, lr = slot.parameter, slot.state, self.lr[self.groups.index(slot.group)]
            value, new = slot.update.apply(p, gradient, old, slot.group, lr)
            p.copy_(torch.where(finite, value, p))
            for name, state in new.items():
                old[name].copy_(torch.where(finite, state, old[name]))
        self.bad_steps.add_(~finite)
        return norm

    def set_learning_rates(self) -> None:
        r"""Hands the optimizers' learning rates to the graph."""
        for group in self.groups:
            if "lrd" in group:  # Pyro's ClippedAdam lowers its own
                group["lr"] *= group["lrd"]
        lrs = [group["lr"] for group in self.groups]
        if lrs != self.lrs:
            self.lr.copy_(torch.tensor(lrs, dtype=torch.float64))
            self.lrs = lrs

    def check(self, compiled: Compiled, call: Call, inputs: Sequence[Tensor]) -> list[Tensor]:
        r"""Takes a step after comparing what the graph is to what the program does now."""
        before = [(t, t.detach().clone()) for t in compiled.graph.changed]
        with undisturbed_randomness(), Externals() as seen:
            args, kwargs = self.rebuilt(call, inputs)
            expected = [float(f) for f in self.step(args, kwargs)]
        seen.restore()
        for slot in self.slots:
            slot.parameter.grad = None
        figures = list(compiled.function(*inputs))
        for got, want in zip(map(float, figures), expected):
            if abs(got - want) > TOLERANCE * max(1.0, abs(want)):
                with torch.no_grad():
                    for tensor, old in before:
                        tensor.copy_(old)
                raise Mismatch(
                    f"Expected the recorded step to do what the program does; got {got:.6g} for "
                    f"{want:.6g}. Something has changed that the graph holds fixed, such as a "
                    "Python attribute; pass it as an argument. No parameter has moved."
                )
        return figures

    def rebuilt(self, call: Call, inputs: Sequence[Tensor]) -> tuple[tuple, dict[str, Any]]:
        return call.rebuild(inputs)
