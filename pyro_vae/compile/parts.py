r"""A graph in parts: random draws by themselves, in their order, and what a compiler gets between.

A compiler may move operations that do not depend on each other, and may lay out a tensor in
another way. Both change what a random generator gives. So no draw is inside of what it compiles:
draws are PyTorch's own calls, on tensors of the strides that they had in the program.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import getitem, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from .guards import changed_by, is_empty, is_random, memory

Values = list[Any]
Compile = Callable[[GraphModule, Sequence[Tensor]], Callable[..., Sequence[Tensor]]]


class Draw(NamedTuple):
    r"""A random operation, some of whose arguments are values by number."""

    function: Callable[..., Any]
    args: Sequence[Any]
    numbers: dict[int, int]

    def __call__(self, values: Values) -> None:
        args = list(self.args)
        for place, number in self.numbers.items():
            args[place] = values[number]
        values.append(self.function(*args))


class Fixed(NamedTuple):
    r"""A random operation whose arguments are the same at every step."""

    function: Callable[[], Any]

    def __call__(self, values: Values) -> None:
        values.append(self.function())


class Segment(NamedTuple):
    r"""What is compiled: takes some of the values, and adds those that it computes."""

    function: Callable[..., Sequence[Tensor]]
    pick: Callable[[Values], Sequence[Any]]

    def __call__(self, values: Values) -> None:
        values.extend(self.function(*self.pick(values)))


class Parts:
    r"""Creates a function that runs a graph in parts.

    Arguments:
        module: The graph.
        inputs: Tensors of the form of its inputs.
        make: Makes a function of a segment.
    """

    def __init__(self, module: GraphModule, inputs: Sequence[Tensor], make: Compile) -> None:
        nodes, self.module, self.make = list(module.graph.nodes), module, make
        stage, self.draws = stages(nodes)
        self.blank = {n: draw for draw in self.draws for n in changed_by(draw) if is_empty(n)}
        self.number: dict[Node, int] = {}
        self.examples = dict(zip(module.graph.find_nodes(op="placeholder"), inputs))
        self.parts: list[Any] = []
        for node in self.examples:
            self.number[node] = len(self.number)
        self.count = len(self.number)
        for now in range(max(stage.values(), default=0) + 1):
            here = [node for node in nodes if stage.get(node) == now and node not in self.blank]
            for node in here:
                if node in self.draws:
                    self.add_draw(node)
            if inside := [node for node in here if node not in self.draws]:
                self.add_segment(inside)
        [output] = module.graph.find_nodes(op="output")
        self.results = picker([self.number[node] for node in output.args[0]])

    def add_draw(self, node: Node) -> None:
        given: Any = map_arg((node.args, node.kwargs), self.own)
        target: Any = node.target
        target = partial(target, **given[1])
        args = [new_like(self.blank[a]) if a in self.blank else a for a in given[0]]
        numbers = {i: self.number[a] for i, a in enumerate(args) if isinstance(a, Node)}
        part = Draw(target, args, numbers) if numbers else Fixed(partial(target, *args))
        self.parts.append(part)
        for made in (node, *(blank for blank, draw in self.blank.items() if draw is node)):
            self.number[made] = self.count
        self.count += 1

    def add_segment(self, inside: Sequence[Node]) -> None:
        here = set(inside)
        inputs = [n for node in inside for n in node.all_input_nodes if n not in here]
        taken = {self.number[n]: self.draw_of(n) for n in inputs}
        given = [node for node in inside if any(user not in here for user in node.users)]
        graph, copies = FxGraph(), {}
        for number, node in taken.items():
            copies[number] = graph.placeholder(node.name)
        made: dict[Node, Node] = {}
        for node in inside:
            made[node] = graph.node_copy(
                node, lambda n: made[n] if n in made else copies[self.number[n]]
            )
        graph.output(tuple(made[node] for node in given))
        function = self.compiled(GraphModule(torch.nn.Module(), graph), list(taken.values()))
        self.parts.append(Segment(function, picker(list(taken))))
        for node in given:
            self.number[node] = self.count
            self.count += 1

    def compiled(self, segment: GraphModule, inputs: Sequence[Node]) -> Any:
        r"""Returns a fast function of a segment that takes the values of some nodes."""
        return self.make(segment, [self.example(node) for node in inputs])

    def example(self, node: Node) -> Tensor:
        r"""Returns a tensor of the form of a node's."""
        return self.examples[node] if node in self.examples else new_like(node)

    def own(self, node: Node) -> Any:
        r"""Returns what the graph holds itself, a random generator."""
        return getattr(self.module, str(node.target)) if node.op == "get_attr" else node

    def draw_of(self, node: Node) -> Node:
        return self.blank.get(node, node)

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        values: Values = list(inputs)
        for part in self.parts:
            part(values)
        return self.results(values)


def picker(numbers: Sequence[int]) -> Callable[[Values], Sequence[Any]]:
    r"""Returns a function that picks values by number."""
    if len(numbers) > 1:
        return itemgetter(*numbers)
    return lambda values: [values[i] for i in numbers]


def stages(nodes: Sequence[Node]) -> tuple[dict[Node, int], list[Node]]:
    r"""Returns how many segments come before each node, and the draws in order."""
    roots = memory(nodes)
    written = {roots[n] for node in nodes for n in changed_by(node)}
    stage: dict[Node, int] = {}
    latest: dict[Any, int] = {}
    draws: list[Node] = []
    for node in nodes:
        if node.op != "call_function":
            continue
        touched = {roots[n] for n in (node, *node.all_input_nodes)} & written
        before = [latest.get(root, 0) for root in touched]
        if is_random(node) or (node.target is getitem and node.args[0] in draws):
            blank = {n for n in changed_by(node) if is_empty(n)}
            inputs = [n for n in node.all_input_nodes if n in stage and n not in blank]
            ready = [stage[n] + (n not in draws) for n in inputs]
            last = [stage[draws[-1]]] if draws else []
            stage[node] = max(0, 0, *ready, *last, *before)
            draws.append(node)
        else:
            ready = [stage[n] for n in node.all_input_nodes if n in stage]
            stage[node] = max(0, 0, *ready, *before)
        for root in touched:
            latest[root] = stage[node]
    return stage, draws


def new_like(node: Node) -> Tensor:
    r"""Returns an unwritten tensor of a node's shape, strides, dtype and device."""
    shape, stride, dtype, device = node.meta["like"]
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)
