r"""A program recorded and compiled once for every kind of call."""

import sys
import time
import warnings
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from torch import Generator, Tensor, nn

from ..ranks import connect, here, silently
from .ahead import Ahead
from .arguments import Call, Inputs
from .backend import Backend, Function, compile_graph
from .externals import keep, restore, undisturbed_randomness
from .record import MANY_OPERATIONS, Graph, NotStatic, record
from .watch import is_alone

SECONDS_TO_MENTION = 2.0
MANY = 8  # graphs of one program; more look like a mistake
MISSES = 100  # steps in a row without a graph, until that is said
REMEMBERED = 1000  # kinds of call that were seen once
COUNTS = 3  # values of a whole number among the arguments, until it becomes an input

ELEMENTS_TO_COMPILE = 2e9
r"""How many numbers p(x | z) must have, over all calls, before a compiler is done sooner."""


@dataclass
class Compiled:
    r"""A program for one kind of call."""

    call: Call
    graph: Graph
    function: Function
    inputs: Inputs
    seconds: float
    calls: int = 0
    last: int = 0

    def take(self, call: Call) -> tuple[Any, "Taken | None"]:
        r"""Returns the numbers that guards compute for a call, and the call if they fit."""
        tensors = self.inputs(call.inputs)
        guards = self.graph.guards
        if guards is None:
            return (), Taken(self, call.args, call.kwargs, tensors, None)
        states = self.generator_states() if guards.draws else None
        try:
            numbers, rest = guards([*self.graph.externals, *tensors])
        except Exception:  # a shape that other numbers led to, say
            numbers, rest = "an error", []
        if numbers == self.graph.numbers:
            return numbers, Taken(self, call.args, call.kwargs, [*tensors, *rest], states)
        put_states(states or ())
        return numbers, None

    def generator_states(self) -> list[tuple[Generator, Tensor]]:
        r"""Returns the random generators that it draws from, with their states."""
        generators = [torch.default_generator, *self.graph.generators]
        if torch.cuda.is_initialized():
            generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
        return [(generator, generator.get_state()) for generator in generators]


class Taken(NamedTuple):
    r"""A call that a program takes.

    Attributes:
        compiled: The program.
        args: The arguments.
        kwargs: Those by name.
        tensors: The inputs of its function.
        states: The random generators before the guards drew, if they did.
    """

    compiled: Compiled
    args: tuple
    kwargs: Mapping[str, Any]
    tensors: list[Tensor]
    states: list[tuple[Generator, Tensor]] | None

    def __call__(self) -> Sequence[Tensor]:
        return self.compiled.function(*self.tensors)

    @contextmanager
    def before(self) -> Iterator[None]:
        r"""Puts tensors and generators inside to where they were before the call, and back."""
        kept = keep([*self.compiled.graph.changed, *self.tensors])
        now = self.compiled.generator_states()
        put_states(self.states or ())
        with pyro.validation_enabled(False):
            yield
        restore(kept)
        put_states(now)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        r"""Undoes what happened inside if it ends in an error."""
        kept = keep([*self.compiled.graph.changed, *self.tensors])
        states = self.states or self.compiled.generator_states()
        try:
            yield
        except Exception:
            restore(kept)
            put_states(states)
            raise


def put_states(states: Iterable[tuple[Generator, Tensor]]) -> None:
    r"""Sets random generators."""
    for generator, state in states:
        generator.set_state(state)


@dataclass
class Cache:
    r"""Creates a program of tensors that is recorded once for every kind of call.

    A kind of call is that of :class:`~.arguments.Call`, what Python holds, and the numbers that
    the program reads from its inputs. A patient cache records a kind when it comes for the second
    time: what comes once is not worth it.

    Arguments:
        program: A function of arguments and arguments by name that returns tensors; what else it
            reads and changes is found by running it.
        device: Where its floats are put.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        parameters: What the program moves.
        patient: Whether a kind is recorded when it comes for the second time only.
        most: How many operations it may have.
    """

    program: Callable[[tuple, dict[str, Any]], Sequence[Tensor]]
    device: torch.device
    backend: Backend = "inductor"
    parameters: Collection[Tensor] = ()
    patient: bool = False
    most: int = MANY_OPERATIONS
    kinds: dict[Hashable, list[Compiled]] = field(default_factory=dict, init=False)
    seen: dict[Hashable, None] = field(default_factory=dict, init=False)
    counted: dict[Hashable, set[int]] = field(default_factory=dict, init=False)
    counters: frozenset[int] = field(default=frozenset(), init=False)
    time: int = field(default=0, init=False)
    latest: Compiled | None = field(default=None, init=False)
    missed: int = field(default=0, init=False)
    warned: bool = field(default=False, init=False)

    @property
    def entries(self) -> dict[int, Compiled]:
        r"""What was recorded, in order."""
        return dict(enumerate(entry for kind in self.kinds.values() for entry in kind))

    def clear(self) -> None:
        r"""Forgets what was recorded."""
        self.kinds.clear()
        self.latest = None

    def find(self, args: tuple, kwargs: dict[str, Any]) -> Taken | None:
        r"""Returns a call with the program that takes it.

        Returns None where the call is to be run as it is, for once.

        Raises:
            NotStatic: Random draws or parameters decide the program's structure.
        """
        self.time += 1
        latest = self.latest
        if (
            latest is not None
            and latest.graph.guards is None
            and latest.call.is_again(args, kwargs)
            and latest.graph.watch.holds()
        ):
            latest.last, self.missed = self.time, 0
            places = latest.call.places
            inputs = args if len(places) == len(args) else [args[i] for i in places]
            return Taken(latest, args, kwargs, latest.inputs(inputs), None)
        call = Call.of(args, kwargs, self.counters)
        kind = self.kinds.get(call.key, ())
        for entry in kind:
            if entry.graph.watch.holds():
                taken = entry.take(call)[1]
                if taken is not None:
                    entry.last, self.missed, self.latest = self.time, 0, entry
                    return taken
        if not is_alone() or not self.is_wanted((call.key, *(self.sign(e, call) for e in kind))):
            self.count(call)
            self.missed += 1
            if self.missed == MISSES and not self.warned:
                self.warn_of_misses(kind)
            return None
        entry = self.compile(call)
        numbers, taken = entry.take(call)
        if taken is None:
            raise NotStatic(
                f"Expected numbers that stay; got {numbers}, which its program changes."
            )
        return taken

    def sign(self, entry: Compiled, call: Call) -> Hashable:
        r"""Names why a program does not take a call."""
        if entry.graph.watch.holds():
            return id(entry), entry.take(call)[0]
        return id(entry), entry.graph.watch.now()

    def warn_of_misses(self, kind: Sequence[Compiled]) -> None:
        r"""Says why no graph fits any more."""
        self.warned = True
        places = [p for e in kind if e.graph.guards is not None for p in e.graph.guards.places]
        reason = f"numbers that it reads change, {places[0]}" if places else "its calls change"
        warnings.warn(
            f"{MISSES} steps in a row ran eagerly: {reason}. Pass numbers that change as floats "
            "or tensors, and what data decide as masks.",
            stacklevel=5,
        )

    def is_wanted(self, sign: Hashable) -> bool:
        r"""Tells whether a kind of call is recorded now."""
        first = sign not in self.seen
        self.seen[sign] = None
        while len(self.seen) > REMEMBERED:
            del self.seen[next(iter(self.seen))]
        if first and self.patient:
            return False
        entries = list(self.entries.values())
        if len(entries) < MANY:
            return True
        oldest = min(entries, key=lambda entry: entry.last)
        if self.time - oldest.last > REMEMBERED:
            for kind in self.kinds.values():
                kind[:] = [entry for entry in kind if entry is not oldest]
            self.latest = None
            return True
        if not self.warned:
            self.warned = True
            warnings.warn(
                f"A step was recorded for {MANY} kinds of arguments, and others come: they run "
                "eagerly. Pass numbers that change as floats or tensors, batches of one size, and "
                "what data decide as masks.",
                stacklevel=5,
            )
        return False

    def count(self, call: Call) -> None:
        r"""Makes inputs of the whole numbers among the arguments that keep changing."""
        for place, value in call.counts.items():
            if place in self.counters:
                continue
            key = (place, *(part for part in call.key if part != (int, value)))
            values = self.counted.setdefault(key, set())
            values.add(value)
            if len(values) > COUNTS:
                self.counters |= {place}
                self.counted.clear()

    def compile(self, call: Call) -> Compiled:
        r"""Records and compiles the program for a kind of call."""
        start = time.perf_counter()
        inputs, graph, tensors = self.record(call)
        function = compile_graph(graph, tensors, self.backend)
        seconds = time.perf_counter() - start
        if seconds > SECONDS_TO_MENTION:
            print(f"Compiled a step in {seconds:.1f} s.", file=sys.stderr)
        entry = Compiled(call, graph, function, inputs, seconds, last=self.time)
        self.kinds.setdefault(call.key, []).insert(0, entry)
        return entry

    def compile_ahead(self, args: tuple) -> Ahead:
        r"""Begins to compile the program for such arguments in another process."""
        _, graph, tensors = self.record(Call.of(args, {}, self.counters))
        return Ahead(graph, tensors)

    def record(self, call: Call) -> tuple[Inputs, Graph, list[Tensor]]:
        r"""Records the program; returns its graph with what takes and gives the arguments."""
        inputs = Inputs(call.inputs, self.device)
        tensors = inputs(call.inputs)
        with silently():
            graph = record(self.program, call, tensors, self.parameters, self.most)
        if not here().alone:
            connect(graph.module)
        with undisturbed_randomness():
            made = graph.guards([*graph.externals, *tensors])[1] if graph.guards else []
        return inputs, graph, [*tensors, *made]

    def drop(self, entry: Compiled) -> None:
        r"""Forgets a program that is no longer what was recorded."""
        self.latest = None
        for kind in self.kinds.values():
            if entry in kind:
                kind.remove(entry)

    def explain(self) -> str:
        r"""Tells what was recorded, a line for every kind of call."""
        lines = []
        for entry in self.entries.values():
            nodes = len(entry.graph.module.graph.nodes)
            kind = ", ".join(map(_described, entry.call.leaves))
            guards = entry.graph.guards
            lines.append(
                f"({kind}): {nodes} operations, {len(entry.graph.externals)} other tensors, "
                f"of which {len(entry.graph.changed)} change and "
                f"{len(entry.graph.constants)} are constants; "
                + (f"{len(guards.kinds)} numbers taken for granted; " if guards else "")
                + f"compiled in {entry.seconds:.1f} s, called {entry.calls} times"
            )
        return "\n".join(lines)


def _described(leaf: Any) -> str:
    if isinstance(leaf, Tensor):
        return f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"
    if isinstance(leaf, np.ndarray):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return "float" if isinstance(leaf, float) else repr(leaf)


class Staged:
    r"""Creates a function of tensors that is recorded and compiled at its first call.

    Calls with other shapes, and programs that are not static, run as they are. Random draws and
    their order are the same compiled or not.

    Arguments:
        function: Returns tensors.
        vae: Whose parameters it reads.
        elements: How many numbers :math:`p(x \mid z)` will have over all calls.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], vae: nn.Module, elements: float
    ) -> None:
        self.function = function
        self.cache: Cache | None = None
        self.key: Any = None
        if elements >= ELEMENTS_TO_COMPILE:
            self.cache = Cache(
                lambda args, kwargs: function(*args, **kwargs), next(vae.parameters()).device
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Tensor]:
        if self.cache is None:
            return self.function(*args, **kwargs)
        key = Call.of(args, kwargs).key
        self.key = self.key or key
        if key != self.key:
            return self.function(*args, **kwargs)
        try:
            found = self.cache.find(args, kwargs)
        except NotStatic:
            self.cache = None
            found = None
        return self.function(*args, **kwargs) if found is None else found()
