r"""Steps of many models of one shape, as one: the recorded step of one, over stacked tensors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from operator import getitem
from typing import Any

import torch
from torch import Generator, Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from .arguments import Call, Inputs
from .backend import Backend, Function, Replay, has_compiler, inductor, why_not_captured
from .draws import default_of
from .externals import keep, restore
from .guards import is_empty, shown_by
from .parts import Compile, Draw, Fixed, Parts, Values, new_like
from .record import Graph, NotStatic, record, tidy
from .refusals import PartialGradients
from .step import FusedStep, Mismatch, compare, is_checked_at


class ManySteps:
    r"""Creates a step of several models, which moves each as its own step would.

    The programs differ in tensors only: parameters, buffers, the optimizers' state and options,
    and their arguments. These are stacked, so that each model's are views, and the step of the
    first model, once recorded, is mapped over them (:func:`torch.func.vmap`). Each model draws
    from a generator of its own, in the order of its own step: its draws are those that it makes
    alone. At calls 1, 2, 10, 100 and every thousandth, every model is compared with its program.

    Arguments:
        steps: The step of each model.
        buffers: The other tensors of each that its program reads or changes and that belong to
            the model, in the same order for all.
        args: Arguments of one step, of the forms to come; or their :class:`~.arguments.Call`.
        generators: A random generator for each model.
        backend: As in :class:`~.step.FusedStep`.
        values: Returns the values of each model's tensors, if models have tensors in common.
        around: Surrounds a run of a model's own program: draws, and what else is its own.

    Raises:
        NotStatic: There is no one graph for all calls.
    """

    def __init__(
        self,
        steps: Sequence[FusedStep],
        buffers: Sequence[Sequence[Tensor]],
        args: tuple | Call,
        generators: Sequence[Generator],
        backend: Backend = "inductor",
        values: Callable[[], Sequence[Sequence[Tensor]]] | None = None,
        around: Callable[[int], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.steps, self.buffers, self.generators = steps, buffers, generators
        self.values = values or (lambda: self.own)
        self.around = around or (lambda i: drawing_from(generators[i]))
        self.backend: Backend = backend
        self.calls = 0
        self.theirs = {*range(len(steps))}
        self.call = args if isinstance(args, Call) else Call.of(args, {})
        self.example = Inputs(self.call.inputs, steps[0].device)(self.call.inputs)
        try:
            self.make()
        except PartialGradients:
            for step in steps:
                step.separate()
                step.regroup()
            self.make()

    def make(self) -> None:
        r"""Stacks the models' tensors, records the step of one, and maps it over all."""
        first, count = self.steps[0], len(self.steps)
        self.own = [[*step.tensors(), *more] for step, more in zip(self.steps, self.buffers)]
        check_apart(self.own[0])
        self.wholes = [stack(tensors) for tensors in zip(*self.values())]
        for i in reversed(range(count)):
            self.put(i, self.memory(i))
        graph = record(first.step, self.call, self.example, first.cache.parameters)
        places = {id(tensor): whole for tensor, whole in zip(self.own[0], self.wholes)}
        check_alike(graph, {*places})
        self.watch = graph.watch
        self.table = places[id(first.options.table)]
        self.externals = [places.get(id(tensor), tensor) for tensor in graph.externals]
        batched = [id(tensor) in places for tensor in graph.externals]
        batched += [True] * len(self.example)
        inputs = [*self.externals, *(stack([tensor] * count) for tensor in self.example)]
        make: Compile = _as_it_is
        if self.backend == "inductor" and has_compiler():
            make = inductor
        try:
            lanes = Lanes(graph.module, inputs, make, batched, self.generators)
        except Exception as error:  # an operation that has no form for many
            raise not_together(error) from error
        self.run: Function = partial(lanes, *self.externals)
        if make is inductor and not lanes.draws and why_not_captured(graph, inputs) is None:
            changed = [places[id(tensor)] for tensor in graph.changed]
            whole = replace(graph, externals=self.externals, changed=changed)
            self.run = Replay(lanes, whole, inputs[len(self.externals) :])

    def memory(self, i: int) -> list[Tensor]:
        r"""Where the tensors of a model are."""
        return [whole[i] for whole in self.wholes]

    def put(self, i: int, tensors: Sequence[Tensor]) -> None:
        r"""Moves a model's tensors to other memory, which has their values."""
        for tensor, memory in zip(self.own[i], tensors):
            tensor.data = memory
        for group in self.steps[i].parameter_groups:
            group.place()

    def release(self, i: int) -> None:
        r"""Gives a model memory of its own; what goes on in its place is nobody's."""
        if i in self.theirs:
            self.theirs.remove(i)
            self.put(i, [tensor.detach().clone() for tensor in self.own[i]])

    def set_rates(self, rates: Sequence[float]) -> None:
        r"""Sets the learning rate of each model."""
        self.table[:, :, 0] = torch.tensor(rates, dtype=self.table.dtype)[:, None]

    @torch.no_grad()
    def __call__(self, *inputs: Tensor, held: Sequence[int] = ()) -> list[Tensor]:
        r"""Takes a step of every model.

        Arguments:
            inputs: The inputs among the arguments, those of all models stacked.
            held: Models that stay as they are.

        Returns:
            What the steps return, stacked.

        Raises:
            Mismatch: A model does not do what its program does; none has moved.
        """
        self.calls += 1
        checked = is_checked_at(self.calls)
        moving = self.theirs - {*held}
        before = keep(self.wholes) if checked or held else []
        states = [g.get_state() for g in self.generators] if checked or held else []
        expected = [(i, *self.expect(i, inputs)) for i in sorted(moving) if checked]
        self.back(states)
        try:
            outputs = list(self.run(*inputs))
        except RuntimeError as error:
            if not checked:
                raise
            restore(before)
            self.back(states)
            raise not_together(error) from error
        try:
            for i, values, moved in expected:
                compare(values, [output[i] for output in outputs], moved)
        except Mismatch:
            restore(before)
            self.back(states)
            raise
        for i in held:
            restore((whole[i], kept[i]) for whole, kept in before)
            self.generators[i].set_state(states[i])
        return outputs

    def back(self, states: Sequence[Tensor]) -> None:
        for generator, state in zip(self.generators, states):
            generator.set_state(state)

    def expect(self, i: int, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Sequence[Any]]:
        r"""Returns what a model's own step would return, and where it would move."""
        step = self.steps[i]
        args, kwargs = self.call.rebuild([tensor[i] for tensor in inputs])
        with self.around(i):
            before = keep(self.own[i])
            expected, gradients = step.evaluate(args, kwargs)
            moved = step.moved(expected, gradients, before)
            restore(before)
        places = {id(tensor): memory for tensor, memory in zip(self.own[i], self.memory(i))}
        return expected, [m._replace(tensor=places.get(id(m.tensor), m.tensor)) for m in moved]


def check_alike(graph: Graph, own: set[int]) -> None:
    r"""Refuses a step that reads numbers, or changes what is not each model's own."""
    if graph.guards is not None or graph.generators:
        raise NotStatic("Expected one graph for all calls; got a program that reads numbers.")
    if any(id(tensor) not in own for tensor in graph.changed):
        raise NotStatic(
            "Expected a step that changes parameters, buffers and optimizer state only; got one "
            "that changes another tensor."
        )


def check_apart(tensors: Sequence[Tensor]) -> None:
    r"""Refuses tensors that share memory, which stacking would part."""
    storages = [t.untyped_storage()._cdata for t in tensors if t.numel()]
    if len({*storages}) < len(storages):
        raise NotStatic(
            "Expected parameters and buffers with memory of their own; got two that share it, as "
            "b.weight = nn.Parameter(a.weight.data) does."
        )


def not_together(error: Exception) -> NotStatic:
    r"""Says that a step has no form for many models."""
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    return NotStatic(f"Expected operations that several models can share; got {reason}.")


def _as_it_is(module: GraphModule, inputs: Sequence[Tensor]) -> Callable:
    return module.forward


class Lanes(Parts):
    r"""Creates a function that runs a graph in parts, for many models at a time.

    Arguments:
        module: The graph of one model.
        inputs: The stacked inputs of all.
        make: Makes a function of a segment.
        batched: Which inputs are stacked; the others are the same for all models.
        generators: The random generator of each model.
    """

    def __init__(
        self,
        module: GraphModule,
        inputs: Sequence[Tensor],
        make: Compile,
        batched: Sequence[bool],
        generators: Sequence[Generator],
    ) -> None:
        fill_blanks(module)
        placeholders = module.graph.find_nodes(op="placeholder")
        self.generators = generators
        self.shared = {node for node, stacked in zip(placeholders, batched) if not stacked}
        super().__init__(module, inputs, make)

    def add_draw(self, node: Node) -> None:
        super().add_draw(node)
        if node.target is getitem:  # one of several results
            return
        shared = {self.number[n] for n in self.shared}
        part: Any = self.parts[-1]
        self.parts[-1] = EachDraw(part, shared, self.generators)

    def compiled(self, segment: GraphModule, inputs: Sequence[Node]) -> Any:
        where = tuple(None if node in self.shared else 0 for node in inputs)
        mapped = torch.vmap(segment.forward, in_dims=where)
        examples = [self.example(node) for node in inputs]
        [output] = segment.graph.find_nodes(op="output")
        strides = [self.form(node).stride() for node in output.args[0]]

        def run(*tensors: Tensor) -> list[Tensor]:  # the next segments count on the strides
            return [*map(laid_out, mapped(*tensors), strides)]

        module = make_fx(run, tracing_mode="fake")(*examples)
        return self.make(tidy(module), examples)

    def example(self, node: Node) -> Tensor:
        return self.examples[node] if node in self.examples else self.form(node)

    def form(self, node: Node) -> Tensor:
        r"""Returns an unwritten tensor of the form of a node's values of all models."""
        return stack([new_like(node)] * len(self.generators))


def fill_blanks(module: GraphModule) -> None:
    r"""Takes what is copied into an unwritten tensor for that tensor: one that all models would
    share could not be written by each."""
    for node in module.graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
        blank, value = node.args[:2]
        alike = isinstance(value, Node) and value.meta.get("like") == blank.meta.get("like")
        fresh = alike and hasattr(value.target, "_schema") and shown_by(value) is None
        unread = is_empty(blank) and next(iter(blank.users)) is node
        if fresh and unread and len(value.users) == 1:
            node.replace_all_uses_with(value)
            module.graph.erase_node(node)
            blank.replace_all_uses_with(value)
            module.graph.erase_node(blank)


class EachDraw:
    r"""Creates a part that draws for each model from its own generator.

    Arguments:
        part: The draw of one model.
        shared: The values that are the same for all models, by number.
        generators: The generators.
    """

    def __init__(
        self, part: Draw | Fixed, shared: set[int], generators: Sequence[Generator]
    ) -> None:
        function: Any = part.function
        self.args = [*function.args, *(part.args if isinstance(part, Draw) else ())]
        numbers = part.numbers if isinstance(part, Draw) else {}
        self.batched = [(i, n) for i, n in numbers.items() if n not in shared]
        self.same = [(i, n) for i, n in numbers.items() if n in shared]
        self.draws = [from_generator(function.func, g, function.keywords) for g in generators]
        self.whole: Tensor | None = None
        blank = self.args[0] if self.args else None
        if isinstance(blank, Tensor):  # memory to draw into
            self.whole, rest = stack([blank] * len(generators)), self.args[1:]
            self.draws = [partial(d, row, *rest) for d, row in zip(self.draws, self.whole)]

    def __call__(self, values: Values) -> None:
        if self.whole is not None:
            for draw in self.draws:
                draw()
            values.append(self.whole)
            return
        args, drawn = list(self.args), []
        for place, number in self.same:
            args[place] = values[number]
        rows = [(place, values[number].unbind()) for place, number in self.batched]
        for i, draw in enumerate(self.draws):
            for place, parts in rows:
                args[place] = parts[i]
            drawn.append(draw(*args))
        if isinstance(drawn[0], Tensor):
            values.append(stack(drawn))
        else:
            values.append(tuple(map(stack, zip(*drawn))))


def from_generator(operation: Any, generator: Generator, options: dict[str, Any]) -> Callable:
    r"""Returns a random operation that draws from a generator."""
    packet, name = operation.overloadpacket, operation._overloadname
    for overload in (name, "generator", f"{name}_generator"):
        own = getattr(packet, overload, None)
        if own is not None and any(a.name == "generator" for a in own._schema.arguments):
            return partial(own, **{**options, "generator": generator})

    def draw(*args: Any) -> Any:
        with drawing_from(generator):
            return operation(*args, **options)

    return draw


@contextmanager
def drawing_from(*generators: Generator) -> Iterator[None]:
    r"""Lets what draws inside draw from a generator, or from one on each of several devices."""
    defaults = [default_of(generator.device) for generator in generators]
    before = [default.get_state() for default in defaults]
    for default, generator in zip(defaults, generators):
        default.set_state(generator.get_state())
    try:
        yield
    finally:
        for default, generator, state in zip(defaults, generators, before):
            generator.set_state(default.get_state())
            default.set_state(state)


def laid_out(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    r"""Returns a tensor with these strides."""
    if tensor.stride() == strides:
        return tensor
    return torch.empty_strided(
        tensor.shape, strides, dtype=tensor.dtype, device=tensor.device
    ).copy_(tensor)


def stack(tensors: Sequence[Tensor]) -> Tensor:
    r"""Stacks tensors, each with the strides that it has, unless they let elements overlap."""
    first = tensors[0]
    if torch._debug_has_internal_overlap(first) == 1:
        return torch.stack(list(tensors))
    extent = 1 + sum((n - 1) * s for n, s in zip(first.shape, first.stride()))
    shape, strides = (len(tensors), *first.shape), (max(1, extent), *first.stride())
    whole = torch.empty_strided(shape, strides, dtype=first.dtype, device=first.device)
    for part, tensor in zip(whole, tensors):
        part.copy_(tensor.detach())
    return whole
