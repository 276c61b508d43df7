r"""A training step as one function: loss, gradients, clipping and the optimizer's update."""

from collections.abc import Callable, Sequence
from math import isfinite, isinf, isnan
from typing import Any, NamedTuple

import torch
from pyro.ops.provenance import detach_provenance
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .ahead import Ahead
from .backend import Backend
from .cache import Cache, Compiled, Taken
from .conditions import Condition
from .externals import keep, restore
from .optimizers import OptimizedParameter, clip_factor
from .options import Options
from .parameter_groups import group_parameters
from .refusals import PartialGradients

CHECKED = (1, 2, 10, 100)  # calls whose graph is compared with the program; and every thousandth
TOLERANCE = 1e-3


class Mismatch(RuntimeError):
    r"""The graph is no longer what the program does."""


Gradients = Sequence[tuple[OptimizedParameter, Tensor]]


class FusedStep:
    r"""Creates a training step that is recorded once for every kind of call, and compiled.

    A step whose gradient is not finite leaves parameters and optimizers alone, and counts itself
    in `bad_steps`. Now and then the graph is compared with the program, run eagerly with the same
    random draws: its numbers, the parameters and the optimizer's state.

    Arguments:
        program: Computes a loss and its gradients into ``.grad``, and returns numbers or 0-dim
            tensors, the loss first.
        parameters: The parameters.
        clip_norm: The norm to which the gradient of all parameters together is shortened.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        patient: Whether a kind of call is recorded when it comes for the second time only.
        finite_loss: Whether a step whose loss is not finite is not taken, either.
        device: Where it runs, if there are no parameters.
        compared: What the graph is compared with, if not with the program.
    """

    def __init__(
        self,
        program: Callable[..., Sequence[Any]],
        parameters: Sequence[OptimizedParameter],
        *,
        clip_norm: float | None = None,
        backend: Backend = "inductor",
        patient: bool = False,
        finite_loss: bool = True,
        device: torch.device | None = None,
        compared: Callable[..., Sequence[Any]] | None = None,
    ) -> None:
        self.compared = compared or program
        self.program, self.clip_norm, self.finite_loss = program, clip_norm, finite_loss
        self.device = device or parameters[0].parameter.device
        self.bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.cache = Cache(self.step, self.device, backend, patient=patient)
        self.together = True
        self.take(parameters)

    def take(self, parameters: Sequence[OptimizedParameter]) -> None:
        r"""Sets the parameters, and forgets the graphs of others."""
        self.parameters = parameters
        self.options = Options(parameters, self.device)
        self.parameter_groups = group_parameters(parameters, self.options, together=self.together)
        self.cache.parameters = [item.parameter for item in parameters]
        self.grouped()

    def grouped(self) -> None:
        r"""Notes where the optimizers keep what the graphs read, which are recorded anew."""
        outside = [item.parameter for item in self.parameters if not item.update]
        self.unfused = {p: torch.zeros_like(p) for p in outside}
        self.cache.clear()
        self.note_places()

    def note_places(self) -> None:
        members = [m for group in self.parameter_groups for m in group.members]
        places = {(id(w.holder), str(w.name)): (w, v) for m in members for w, v in m.places()}
        self.intact = Condition(places.values())
        self.hooks = RemovableHandle.next_id

    def bind(self) -> None:
        r"""Takes up what the optimizers hold now, if they were given other state or options."""
        hooked = [item for item in self.parameters if item.update is None]
        if self.intact.holds() and len(hooked) == len(self.unfused):
            self.hooks = RemovableHandle.next_id
            return
        self.parameters = [item.now() for item in self.parameters]
        self.options.bind()
        if len(hooked) != len(self.unfused):
            self.regroup()
            return
        for group in self.parameter_groups:
            group.bind()
        self.note_places()

    def __call__(self, *args: Any, **kwargs: Any) -> list[Tensor] | None:
        r"""Takes a step, and returns what the program returned and the norm of the gradient.

        Returns None, and does nothing, where a step is to be taken eagerly: for a kind of call
        that comes for the first time, or where one graph is not worth it.

        Raises:
            NotStatic: Random draws or parameters decide the program's structure.
            Mismatch: The program has changed since it was recorded.
        """
        found = self.find(args, kwargs)
        return None if found is None else self.take_step(found)

    def find(self, args: tuple, kwargs: dict[str, Any]) -> Taken | None:
        r"""Returns the graph of a step, recorded if it has to be; nothing moves. None, and errors,
        as of a call."""
        if self.hooks != RemovableHandle.next_id or not self.intact.holds():
            self.bind()
        if self.options.changed(self.parameter_groups):
            self.regroup()
        try:
            return self.cache.find(args, kwargs)
        except PartialGradients:
            self.together = False
            self.regroup()
            return self.cache.find(args, kwargs)

    def take_step(self, found: Taken) -> list[Tensor]:
        r"""Takes a step that was found."""
        bad = int(self.bad_steps) if self.unfused else 0
        rates = self.options.decay() if self.options.decaying else ()
        outputs = self.check(found, rates) if is_checked(found.compiled) else found()
        if self.unfused and int(self.bad_steps) == bad:
            self.step_eagerly()
        return list(outputs)

    def compile_ahead(self, *args: Any) -> Ahead:
        r"""Begins to compile the step for such arguments in another process; nothing moves.

        Raises:
            NotStatic: Random draws or parameters decide the program's structure.
        """
        try:
            return self.cache.compile_ahead(args)
        except PartialGradients:
            self.together = False
            self.regroup()
            return self.cache.compile_ahead(args)

    def tensors(self) -> list[Tensor]:
        r"""Returns parameters, and what belongs to their update."""
        state = [t for group in self.parameter_groups for t in group.state.values()]
        return [
            *(detach_provenance(item.parameter) for item in self.parameters),
            *state,
            self.options.table,
            self.bad_steps,
        ]

    def separate(self) -> None:
        r"""Lets each parameter move by itself from the next step on."""
        if self.together:
            self.together, self.options.last = False, []

    def regroup(self) -> None:
        r"""Sorts the parameters anew, as their options have changed in kind."""
        for group in self.parameter_groups:
            group.release()
        self.parameter_groups = group_parameters(
            self.parameters, self.options, together=self.together
        )
        self.grouped()

    def step(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        r"""One step, as it is recorded."""
        outputs, gradients = self.evaluate(args, kwargs)
        with torch.no_grad():
            clipped = self.clip(gradients, outputs[-1])
            finite = self.is_finite(outputs, clipped)
            self.update_parameters(finite, clipped)
        return outputs

    def evaluate(
        self, args: tuple, kwargs: dict[str, Any], program: Callable | None = None
    ) -> tuple[list[Tensor], Gradients]:
        r"""Returns the program's outputs with the norm of the gradient, and the gradients."""
        for item in self.parameters:
            item.parameter.grad = None
        with torch.enable_grad():
            outputs = (program or self.program)(*args, **kwargs)
        gradients = [
            (s, s.parameter.grad) for s in self.parameters if s.parameter.grad is not None
        ]
        for item in self.parameters:
            item.parameter.grad = None
        with torch.no_grad():
            squares = [g.square().sum() for _, g in gradients]
            norm = torch.stack(squares).sum().sqrt() if squares else torch.zeros(())
        return [torch.as_tensor(f, device=self.device) for f in (*outputs, norm)], gradients

    def clip(self, gradients: Gradients, norm: Tensor) -> dict[Tensor, Tensor]:
        r"""Shortens the gradients as the step and the optimizers ask."""
        clipped = {}
        for item, gradient in gradients:
            if self.clip_norm is not None:
                gradient = gradient * clip_factor(norm, self.clip_norm)
            clipped[item.parameter] = item.clip(gradient, self.options.of(item.group))
        return clipped

    def is_finite(self, outputs: Sequence[Tensor], clipped: dict[Tensor, Tensor]) -> Tensor:
        r"""Tells whether a step is taken."""
        if self.finite_loss:
            return outputs[0].isfinite() & outputs[-1].isfinite()
        zeros = [(gradient * 0).sum() for gradient in clipped.values()]
        return torch.stack(zeros).sum() == 0 if zeros else torch.ones_like(outputs[0]).bool()

    def update_parameters(self, finite: Tensor, clipped: dict[Tensor, Tensor]) -> None:
        r"""Moves the parameters along their gradients, if all is finite."""
        for group in self.parameter_groups:
            found = [clipped[s.parameter] for s in group.members if s.parameter in clipped]
            if len(found) == len(group.members):
                group.update_parameters(found, self.options.of(group.group), finite)
            elif found:
                raise PartialGradients
        for parameter, buffer in self.unfused.items():
            buffer.copy_(clipped.get(parameter, torch.zeros_like(buffer)))
        self.bad_steps.add_(~finite)

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

    # --- Comparison ---------------------------------------------------------------------------

    def check(self, taken: Taken, rates: Sequence[float]) -> Sequence[Tensor]:
        r"""Takes a step after comparing what the graph does to what the program does now."""
        changed = {id(tensor) for tensor in taken.compiled.graph.changed}
        own = [p for p in self.cache.parameters if id(p) not in changed]
        with taken.undone_on_error():
            before = keep([*taken.compiled.graph.changed, *own])
            now = self.options.rates()
            self.options.set_rates(rates)
            with taken.before():
                kwargs = dict(taken.kwargs)
                expected, gradients = self.evaluate(taken.args, kwargs, self.compared)
                moved = self.moved(expected, gradients, before)
                restore(before)
            self.options.set_rates(now)
            try:
                outputs = taken()
                compare(expected, outputs, moved)
            except Mismatch:
                self.options.set_rates(rates)
                self.cache.drop(taken.compiled)
                raise
        return outputs

    def moved(
        self, expected: Sequence[Tensor], gradients: Gradients, before: Sequence[tuple]
    ) -> list["Moved"]:
        r"""Returns what the optimizers' own steps make of parameters and state."""
        with torch.no_grad():
            clipped = self.clip(gradients, expected[-1])
            if not bool(self.is_finite(expected, clipped)):
                return []
        members = [m for group in self.parameter_groups for m in group.members]
        members = [m for m in members if m.parameter in clipped]
        optimizers: dict[Optimizer, None] = {m.optimizer: None for m in members}
        states = [
            (m.optimizer.state[m.parameter], {**m.optimizer.state[m.parameter]}) for m in members
        ]
        groups = [(group, dict(group)) for o in optimizers for group in o.param_groups]
        for item in members:
            item.parameter.grad = clipped[item.parameter].clone()
        for optimizer in optimizers:
            optimizer.step()
        old = {id(tensor): copy for tensor, copy in before}
        found = []
        for item, (state, views) in zip(members, states):
            p = item.parameter
            p.grad = None
            if clipped[p].norm() > 1e-4 * expected[-1]:  # what is less may be rounding
                want = p.detach().clone()
                found.append(Moved("a parameter", p, want, 0.5 * (want - old[id(p)]).norm()))
                for name, view in views.items():
                    if isinstance(view, Tensor) and view.is_floating_point():
                        want = torch.as_tensor(state[name]).clone()
                        found.append(
                            Moved(f"the optimizer's {name}", view, want, 0.01 * want.norm())
                        )
            state.clear()
            state.update(views)
        for group, options in groups:
            group.update(options)
        return found


class Moved(NamedTuple):
    r"""A tensor, where an optimizer's step puts it, and how far from there it may be."""

    name: str
    tensor: Tensor
    want: Tensor
    tolerance: Tensor

    def difference(self) -> str | None:
        distance = (self.tensor.detach() - self.want).norm()
        if distance <= self.tolerance + 1e-5 * self.want.norm() + 1e-12:
            return None
        return (
            f"{self.name} at a distance of {float(distance):.3g} from where the optimizer puts it"
        )


def is_checked(compiled: Compiled) -> bool:
    r"""Counts a call, and tells whether it is compared with the program."""
    compiled.calls += 1
    return is_checked_at(compiled.calls)


def is_checked_at(calls: int) -> bool:
    return calls in CHECKED or calls % 1000 == 0


def compare(
    expected: Sequence[Tensor], outputs: Sequence[Tensor], moved: Sequence[Moved] = ()
) -> None:
    r"""Compares numbers and tensors; infinities are alike, too.

    Raises:
        Mismatch: They differ.
    """
    found = next(filter(None, map(Moved.difference, moved)), None)
    for got, want in zip(map(float, outputs), map(float, expected)):
        alike = got == want or abs(got - want) <= TOLERANCE * max(1.0, abs(want))
        if not (alike or (isnan(want) and not isfinite(got)) or (isnan(got) and isinf(want))):
            found = f"{got:.6g} for {want:.6g}"
            break
    if found is not None:
        raise Mismatch(
            f"Expected the recorded step to do what the program does; got {found}. Something has "
            "changed that the graph holds fixed, such as a Python attribute; pass it as an "
            "argument. No parameter has moved."
        )


def checked_call(
    cache: Cache, program: Callable[[tuple, dict[str, Any]], Sequence[Tensor]], taken: Taken
) -> Sequence[Tensor]:
    r"""Calls a compiled program, now and then after comparing it with the program itself."""
    if not is_checked(taken.compiled):
        return taken()
    with taken.undone_on_error():
        with taken.before():
            expected = program(taken.args, dict(taken.kwargs))
        try:
            outputs = taken()
            compare(expected, outputs)
        except Mismatch:
            cache.drop(taken.compiled)
            raise
    return outputs
