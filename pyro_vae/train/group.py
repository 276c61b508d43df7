r"""Training of several models of one shape: one step moves all of them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from ..gallery import Relative
from ..programs import device_of
from ..randomness import reseed
from .history import History
from .progress import LINES, leave, stop_signals
from .resume import restore
from .run import Run
from .steps import compiles

if TYPE_CHECKING:
    from ..compile import ManySteps
    from ..compile.backend import Backend

WORTH = 2000  # steps to come; with fewer, a smaller graph for the models that are left is not
SMALL = {True: 60_000, False: 240_000}  # parameters of models that share a step, compiled or not
TOGETHER = 8  # of them in one step on a CPU: more leave the cache
ON_A_GPU = 64  # in one step on a GPU,
LARGE = 50_000_000  # which together have at most so many parameters


@dataclass(eq=False)
class Member:
    r"""One of the models: its run, the generators that it draws from, and where it stands."""

    name: str
    run: Run
    generator: Generator = field(default_factory=Generator)
    others: list[Generator] = field(default_factory=list)  # that of a GPU
    epochs: Iterator[list[Tensor]] | None = None
    batches: list[Tensor] = field(default_factory=list)
    weights: tuple[float, float | None] = (1.0, None)  # of the KL term, and its capacity
    error: Exception | None = None

    def drawing(self) -> AbstractContextManager[None]:
        r"""Lets what draws inside draw from this model's generator."""
        from ..compile import drawing_from

        return drawing_from(self.generator, *self.others)

    def begin(self, resume: bool) -> None:
        r"""Brings the model to where its training begins, or goes on."""
        device = device_of(self.run.vae)
        self.others = [Generator(device)] if device.type == "cuda" else []
        with self.drawing():
            if resume:
                restore(self.run)
            else:
                self.run.try_out()
                reseed(device_of(self.run.vae), self.run.seed)
        self.epochs = self.run.epochs()

    def advance(self) -> None:
        r"""Measures and saves at the end of an epoch, and begins the next, if there is one."""
        assert self.epochs is not None
        with self.drawing():
            self.batches = next(self.epochs, [])

    def step_alone(self) -> None:
        r"""Takes the next step by itself."""
        with self.drawing():
            self.run.step(self.batches[0])

    def save(self, last: bool = False) -> None:
        with self.drawing():
            self.run.add_time()
            self.run.save(last)


class Group:
    r"""Creates the training of models of one shape, on data of one size.

    Each has its own order of the data, draws, learning rate, weight of the KL term, temperature
    and end, as if it was alone. One that fails stops alone.

    Arguments:
        runs: The training of each model.
        names: Their names.
        progress: Whether lines show how far they are.
        together: Whether one step moves all; else they take turns.
    """

    def __init__(
        self, runs: Sequence[Run], names: Sequence[str], progress: bool, together: bool
    ) -> None:
        self.members = [Member(name, run) for name, run in zip(names, runs)]
        self.progress, self.together = progress, together
        self.settings, count = runs[0].settings, len(runs[0].data)
        self.size = min(self.settings.batch_size, count)
        self.compiled = compiles(self.settings, runs[0].steps_per_epoch)
        self.epochs = max(run.settings.epochs for run in runs)
        self.shown = 0
        self.stop: list[int] = []
        self.lanes: list[Member] = []
        self.many: ManySteps | None = None
        self.rates: list[float] = []
        weighs = any(run.loss.weighs_kl for run in runs)
        for run in runs:
            run.loss.weighs_kl = weighs
            run.use_steps(compiled=self.compiled and not together)

    @property
    def active(self) -> list[Member]:
        r"""The models that have steps to take."""
        return [member for member in self.members if member.batches]

    def train(self, resumed: Sequence[bool]) -> list[History | Exception]:
        r"""Trains all models; returns the history of each, or why it stopped.

        Arguments:
            resumed: Which of them go on from their newest checkpoint.
        """
        saves = any(member.run.folder is not None for member in self.members)
        with stop_signals(self.stop, saves):
            for member, resume in zip(self.members, resumed):
                member.begin(resume)
                self.attempt(member, member.advance)
            if self.together and can_share([member.run for member in self.members]):
                self.step_in_one()
            elif self.together:
                self.part("Models draw from generators.")
            self.take_turns()
        return [member.error or member.run.history for member in self.members]

    def step_in_one(self) -> None:
        r"""Trains all models together, as far as one graph can be made of their steps."""
        from ..compile import Mismatch, NotStatic

        try:
            while active := self.active:
                least = min(member.run.position.batch for member in active)
                ready = [m for m in active if m.run.position.batch == least]
                if len(ready[0].batches[0]) == self.size:
                    self.step(ready, active)
                else:
                    for member in ready:
                        self.attempt(member, member.step_alone)
                for member in ready:
                    self.between_steps(member)
                self.leave_if_told()
        except (NotStatic, Mismatch) as error:
            self.part(str(error))

    def part(self, reason: str) -> None:
        r"""Lets the models take turns from now on."""
        print(f"The models are trained one by one. {reason}", file=sys.stderr)
        for member in self.active:
            self.release(member)
            member.run.use_steps(compiled=self.compiled)

    def take_turns(self) -> None:
        r"""Trains one model after the other."""
        for member in self.members:
            while member.batches:
                self.attempt(member, member.step_alone)
                self.between_steps(member)
                self.leave_if_told()

    def between_steps(self, member: Member) -> None:
        r"""Saves if it is due, and goes on to the next epoch where one ends."""
        if member.error is not None:
            return
        at, every = member.run.position, member.run.settings.checkpoint_steps
        at.batch += 1
        member.batches = member.batches[1:]
        if every and at.step % every == 0:
            member.save()
        if not member.batches:
            self.attempt(member, member.advance)
            if not member.batches:
                self.release(member)
            self.show()

    def attempt(self, member: Member, action: Any) -> None:
        r"""Lets a model act; if that fails, it stops with the parameters that it has."""
        try:
            action()
        except Exception as error:
            if not isinstance(error, ArithmeticError | ValueError | RuntimeError | OSError):
                raise
            member.error, member.batches = error, []
            self.release(member)
            print(f"{member.name} stopped: {error}", file=sys.stderr)

    # --- One step for all -----------------------------------------------------------------------

    def step(self, ready: Sequence[Member], active: Sequence[Member]) -> None:
        r"""Takes a step of the models that are ready; the other active ones stay."""
        left = max(m.run.settings.epochs - m.run.position.epoch for m in active)
        worth = left * active[0].run.steps_per_epoch > WORTH
        fewer = 2 * len(active) <= len(self.lanes) and worth
        if self.many is None or fewer:
            self.lanes, self.many = list(active), None
            self.many = self.record(ready[0])
        many = self.many
        states = [member.generator.get_state() for member in ready]
        for member in ready:
            member.weights = member.run.prepare()
        own = {id(member): self.arguments(member) for member in ready}
        args = [own.get(id(member), own[id(ready[0])]) for member in self.lanes]
        device = args[0][1].device
        stacked = [
            torch.stack(values) if isinstance(values[0], Tensor) else torch.tensor(values)
            for values in zip(*args)
            if values[0] is not None
        ]
        rates = [member.run.optimizer.param_groups[0]["lr"] for member in self.lanes]
        if rates != self.rates:
            many.set_rates(rates)
            self.rates = rates
        held = [i for i, m in enumerate(self.lanes) if m in active and m not in ready]
        try:
            outputs = many(*(tensor.to(device) for tensor in stacked), held=held)
        except (ValueError, RuntimeError):
            for member, state in zip(ready, states):  # the step is to be taken in another way
                member.run.position.step -= 1
                member.generator.set_state(state)
            raise
        metrics = torch.stack(outputs).T.tolist()
        for member, values in zip(self.lanes, metrics):
            if member in ready:
                self.attempt(member, lambda m=member, v=values: m.run.add_metrics(v, self.size))

    def arguments(self, member: Member) -> tuple[Any, ...]:
        r"""The arguments of a model's step."""
        x, rows, loss = None, member.batches[0], member.run.loss
        if not isinstance(loss.data.stored, Tensor):
            with member.drawing():
                x = loss.read(rows)
        return x, rows, *member.weights

    def record(self, member: Member) -> "ManySteps":
        r"""Makes the step of all models, with the arguments of one as an example."""
        from ..compile import FusedStep, ManySteps, optimized_parameters

        runs, clip = [member.run for member in self.lanes], self.settings.clip_norm
        parameters = [optimized_parameters(run.optimizer) for run in runs]
        steps = [FusedStep(r.loss, p, clip_norm=clip) for r, p in zip(runs, parameters)]
        buffers = [fixed(run) for run in runs]
        generators = [member.generator for member in self.lanes]
        self.rates = []
        at, state = member.run.position.step, member.generator.get_state()
        schedule = member.run.schedule
        member.weights = schedule.kl_weight(at), schedule.capacity(at)
        args = self.arguments(member)
        member.generator.set_state(state)
        backend: Backend = "inductor" if self.compiled else "graph"
        return ManySteps(steps, buffers, args, generators, backend)

    def release(self, member: Member) -> None:
        r"""Gives a model memory of its own."""
        if self.many is not None and member in self.lanes:
            self.many.release(self.lanes.index(member))

    # --- Between steps --------------------------------------------------------------------------

    def leave_if_told(self) -> None:
        if self.stop:
            for member in self.active:
                self.attempt(member, partial(member.save, last=True))
            leave(self.stop[0])

    def show(self) -> None:
        r"""Shows a line now and then."""
        runs = [member.run for member in self.members if member.error is None]
        epoch = min((run.position.epoch for run in runs if not run.position.finished), default=0)
        if not self.progress or epoch <= self.shown or epoch % max(1, self.epochs // LINES):
            return
        self.shown = epoch
        losses = [run.history["loss"][-1] for run in runs]
        least, most = f"{min(losses):.2f}", f"{max(losses):.2f}"
        shown = least if len(losses) == 1 else f"{least} to {most}, {len(losses)} models"
        unit = ", nats per datum" if "kl" in runs[0].measured.terms else ""
        print(f"epoch {epoch}/{self.epochs}  loss {shown}{unit}", flush=True)


def fixed(run: Run) -> list[Tensor]:
    r"""Returns the tensors of a model that are not trained: its buffers, what is frozen, and what
    counts its draws."""
    modules = (run.vae, run.objective)
    found = [b for module in modules for b in module.buffers()]
    found += run.loss.noise.tensors() if run.loss.noise else []
    found += [p for module in modules for p in module.parameters() if not p.requires_grad]
    return list({id(tensor): tensor for tensor in found}.values())


def can_share(runs: Sequence[Run]) -> bool:
    r"""Tells whether one step can draw for all: by counter, or on a CPU from a generator of each.

    A GPU has one generator for all. Relatives take their steps themselves.
    """
    if any(isinstance(run.vae, Relative) for run in runs):
        return False
    counted = {run.loss.noise is not None for run in runs}
    return counted == {True} or (counted == {False} and device_of(runs[0].vae).type == "cpu")


def group_size(run: Run) -> int:
    r"""Tells how many models like this one a step moves at best: on a CPU, few and small ones."""
    parameters = sum(p.numel() for p in run.vae.parameters())
    if not can_share([run]):
        return 1
    if device_of(run.vae).type != "cpu":
        return max(1, min(ON_A_GPU, LARGE // max(1, parameters)))
    return TOGETHER if parameters <= SMALL[compiles(run.settings, run.steps_per_epoch)] else 1
