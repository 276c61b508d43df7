r"""Numbers that arguments, buffers and constants decide: what a graph takes for granted.

A program may ask such a number, as ``range(int(lengths.max()))`` does. It is given, and the part
of the graph that computes it is kept as a guard: the graph stands for those calls whose numbers
are the same. What random draws or parameters decide changes with every step, and is refused.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from operator import getitem
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_leaves

from .externals import written
from .refusals import NotStatic

aten = torch.ops.aten
PUTS = {
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index_put.default,
}

Kind = Literal["value", "shape", "contents"]


class Question(NamedTuple):
    r"""A node of a graph that a program asked for its value, its shape or all of its numbers."""

    node: Node
    kind: Kind
    place: str


class Masked(NamedTuple):
    r"""What a mask let through that changes with every step, and why that may be refused."""

    tensor: Tensor
    node: Node | None
    sentence: str


@dataclass
class Guards:
    r"""The part of a graph that computes the numbers that its program asked for.

    Attributes:
        module: Takes the graph's inputs; returns what was asked, then what the graph takes as
            further inputs: tensors of unknown shape, and draws.
        kinds: What each question asks: a value, a shape or contents.
        places: Where it was asked.
        draws: Whether random numbers are drawn.
    """

    module: GraphModule
    kinds: Sequence[Kind]
    places: Sequence[str]
    draws: bool

    def __call__(self, inputs: Sequence[Tensor]) -> tuple[Hashable, list[Tensor]]:
        r"""Returns the numbers for these inputs, and the tensors that the graph takes."""
        with torch.no_grad():
            out = self.module.forward(*inputs)
        asked, rest = out[: len(self.kinds)], out[len(self.kinds) :]
        return tuple(answer(tensor, kind) for tensor, kind in zip(asked, self.kinds)), list(rest)


def answer(tensor: Tensor, kind: Kind) -> Hashable:
    r"""Returns the answer to a question about a tensor, in a form that can be compared."""
    if kind == "shape":
        return tuple(tensor.shape)
    if kind == "value":
        return tensor.item()
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


class Origin(NamedTuple):
    r"""What decides the numbers in some memory.

    Attributes:
        inputs: Whether an input of the graph does.
        moves: Whether a parameter does.
        draw: The number of the last draw that does, or -1.
    """

    inputs: bool = False
    moves: bool = False
    draw: int = -1


class Flow:
    r"""Follows a graph while it is recorded: what decides which node.

    Arguments:
        parameters: The numbers of those inputs that change with every step.
    """

    def __init__(self, parameters: Collection[int]) -> None:
        self.parameters = parameters
        self.last: Node | None = None
        self.roots: dict[Node, Any] = {}
        self.origins: dict[Any, Origin] = {}
        self.early: list[bool] = []  # for each draw, whether it can be made before the step
        self.count = 0

    def origin(self, node: Node) -> Origin:
        r"""Returns what decides a node."""
        following = self.last.next if self.last is not None else next(iter(node.graph.nodes))
        while following.op != "root":
            self.follow(following)
            self.last, following = following, following.next
        return self.origins[self.roots[node]]

    def is_early(self, draw: int) -> bool:
        r"""Tells whether a draw and all before it can be made before the step."""
        return all(self.early[: draw + 1])

    def follow(self, node: Node) -> None:
        root = self.roots[node] = memory_of(node, self.roots)
        if node.op == "placeholder":
            self.origins[root] = Origin(True, self.count in self.parameters)
            self.count += 1
            return
        before = [self.origins[self.roots[n]] for n in node.all_input_nodes]
        if node.op == "get_attr":
            before = [Origin()]
        origin = Origin(
            any(b.inputs for b in before),
            any(b.moves for b in before),
            max((b.draw for b in before), default=-1),
        )
        if is_random(node):
            own = any(n.op == "get_attr" for n in node.all_input_nodes)  # the program's generator
            blank = all(map(is_empty, changed_by(node)))
            whole = len(node.target._schema.returns) == 1  # type: ignore[union-attr]
            self.early.append(not origin.moves and not own and blank and whole)
            origin = origin._replace(draw=len(self.early) - 1)
        for changed in (node, *changed_by(node)):
            old = self.origins.get(self.roots[changed], Origin())
            self.origins[self.roots[changed]] = Origin(
                old.inputs or origin.inputs, old.moves or origin.moves, max(old.draw, origin.draw)
            )


def behind(graph: FxGraph, asked: Collection[Node]) -> set[Node]:
    r"""Returns the nodes that decide some nodes, and these."""
    nodes = list(graph.nodes)
    roots = memory(nodes)
    wanted, found = set(asked), set()
    storages: set[Any] = set()
    for node in reversed(nodes):
        if node not in wanted and not any(roots[n] in storages for n in changed_by(node)):
            continue
        found.add(node)
        wanted.update(node.all_input_nodes)
        storages.update(roots[n] for n in (node, *node.all_input_nodes))
    return found


def is_empty(node: Node) -> bool:
    r"""Tells whether a node makes a tensor that is not yet written."""
    return node.op == "call_function" and str(node.target).startswith(
        ("aten.empty", "aten.new_empty")
    )


def memory(nodes: Iterable[Node]) -> dict[Node, Any]:
    r"""Names the memory of each node: a view has that of what it shows."""
    roots: dict[Node, Any] = {}
    for node in nodes:
        roots[node] = memory_of(node, roots)
    return roots


def memory_of(node: Node, roots: dict[Node, Any]) -> Any:
    r"""Names the memory of a node, given that of the nodes before it."""
    if node.op == "placeholder":
        return node.meta.get("storage", node)
    if node.op != "call_function":
        return node
    if node.target is getitem:
        parts: Any = node.args[0]
        return roots[parts] if shown_by(parts) is not None else node
    shown = shown_by(node)
    return node if shown is None else roots[shown]


def shown_by(node: Node) -> Node | None:
    r"""Returns the node that an operation shows or has changed, if it makes no memory."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or all(part.alias_info is None for part in schema.returns):
        return None
    for argument, value in zip(schema.arguments, node.args):
        if argument.alias_info is not None and isinstance(value, Node):
            return value
    return None


def changed_by(node: Node) -> list[Node]:
    r"""Returns the nodes whose memory an operation writes."""
    if not hasattr(node.target, "_schema"):
        return []
    leaves = tree_leaves(written(node.target, node.args, node.kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, Node)]


def is_random(node: Node) -> bool:
    r"""Tells whether a node draws."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def cut(module: GraphModule, questions: Sequence[Question]) -> Guards | None:
    r"""Takes the guards out of a graph.

    Tensors of unknown shape, and the draws that guards need with all that come before them, are
    made by the guards and become inputs of the graph.
    """
    if not questions:
        return None
    graph = module.graph
    asked = {question.node for question in questions}
    shaped = {question.node for question in questions if question.kind == "shape"}
    draws = [node for node in graph.nodes if is_random(node)]
    first = behind(graph, asked)
    drawn = draws[: 1 + max((i for i, draw in enumerate(draws) if draw in first), default=-1)]
    made = [node for node in graph.nodes if node in drawn or node in shaped]
    needed = behind(graph, asked.union(drawn))
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    guard, copies = FxGraph(), {}
    for node in placeholders:
        copies[node] = guard.placeholder(node.name)
    roots = memory(graph.nodes)
    changed = {roots[written] for node in needed for written in changed_by(node)}
    for node in placeholders:
        if roots[node] in changed:
            copies[node] = guard.call_function(aten.clone.default, (copies[node],))
    for node in graph.nodes:
        if node in needed and node.op != "placeholder":
            copies[node] = guard.node_copy(node, copies.__getitem__)
    for node in drawn:  # the program may write into what it drew
        copies[node] = guard.call_function(aten.clone.default, (copies[node],))
    guard.output(tuple(copies[q.node] for q in questions) + tuple(copies[n] for n in made))
    for node in guard.nodes:
        node.meta.clear()

    last = placeholders[-1] if placeholders else None
    for node in made:
        with graph.inserting_after(last) if last else graph.inserting_before(None):
            last = graph.placeholder(f"made_{node.name}")
        last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    kinds = [question.kind for question in questions]
    guard_module = GraphModule(torch.nn.Module(), guard)
    places = [question.place for question in questions]
    return Guards(guard_module, kinds, places, bool(drawn))


def put_back(module: GraphModule, masked: Sequence[Masked]) -> None:
    r"""Makes ``a[mask] = b[mask]`` a choice by element, whose shape no mask decides.

    Raises:
        NotStatic: What a mask let through is used in another way.
    """
    sentences = {part.node: part.sentence for part in masked if part.node is not None}
    for node in sentences:
        for user in list(node.users):
            if str(user.target).startswith("aten.new_"):  # it is asked for its dtype only
                user.replace_input_with(node, node.all_input_nodes[0])
    for node in list(module.graph.nodes):
        if not sentences or node.target not in PUTS or len(node.args[1]) != 1:
            continue
        [mask], values = node.args[1], node.args[2]
        if mask.meta["val"].dtype != torch.bool or values.meta["val"].numel() == 1:
            continue
        if values in sentences and values.args[1] == node.args[1]:
            replace_put(node, values.args[0], mask)
        elif str(values.target).startswith(("aten.zeros", "aten.new_zeros")):
            replace_put(node, None, mask)  # what autograd does to the gradient of what is put
    for node, sentence in sentences.items():
        if node.users:
            raise NotStatic(sentence)
        module.graph.erase_node(node)


def replace_put(put: Node, source: Node | None, mask: Node) -> None:
    graph, target = put.graph, put.args[0]
    add = len(put.args) > 3 and put.args[3]
    dims = put.meta["val"].dim() - mask.meta["val"].dim()
    with graph.inserting_before(put):
        if dims:
            shape = [*mask.meta["val"].shape, *[1] * dims]
            mask = graph.call_function(aten.reshape.default, (mask, shape))
        if source is None:
            source = graph.call_function(aten.zeros_like.default, (target,))
        if add:
            zero = graph.call_function(aten.zeros_like.default, (source,))
            chosen = graph.call_function(aten.where.self, (mask, source, zero))
            new = graph.call_function(aten.add.Tensor, (target, chosen))
        else:
            new = graph.call_function(aten.where.self, (mask, source, target))
        if put.target._schema.is_mutable:  # type: ignore[union-attr]
            new = graph.call_function(aten.copy_.default, (target, new))
    new.meta = dict(put.meta)
    put.replace_all_uses_with(new)
    graph.erase_node(put)
