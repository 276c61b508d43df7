r"""A function of tensors as a list of its operations, which a page can run without Python."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Node
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

MANY = 64  # numbers: a constant of more is worth storing in half precision
FEW = 4096  # numbers: a constant of so many may be larger than what it is made of
Operation = Any


class Step(NamedTuple):
    r"""One operation of a graph.

    Attributes:
        name: The name of the operation: that of ATen; ``"input"``, or ``"constant"``.
        arguments: Its arguments in the order of its schema; a :class:`Value` is one that an
            earlier step made. An input has its name, a constant its tensor.
        shape: The shape of what it returns; a list of them if it returns several.
        target: The operation.
    """

    name: str
    arguments: list[Any]
    shape: Any
    target: Operation = None


class Value(NamedTuple):
    r"""What the step of this number has returned."""

    step: int


class Graph(NamedTuple):
    r"""A recorded function.

    Attributes:
        steps: Its operations, in order.
        outputs: The number of the step that makes each output, by name.
    """

    steps: list[Step]
    outputs: dict[str, int]

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r"""Runs the operations, as a page does."""
        done: list[Any] = []
        for step in self.steps:
            if step.name == "input":
                done.append(inputs[step.arguments[0]])
            elif step.name == "constant":
                done.append(step.arguments[0])
            elif step.name == "getitem":
                value, place = step.arguments
                done.append(done[value.step][place])
            else:
                arguments = [_filled(argument, done) for argument in step.arguments]
                done.append(_called(step.target, arguments))
        return {name: done[place] for name, place in self.outputs.items()}

    def halved(self) -> "Graph":
        r"""The graph with its large constants rounded to half precision."""

        def rounded(step: Step) -> Step:
            if step.name != "constant" or not self.is_halved(step.arguments[0]):
                return step
            constant = step.arguments[0]
            return step._replace(arguments=[constant.half().to(constant.dtype)])

        return Graph([rounded(step) for step in self.steps], self.outputs)

    @staticmethod
    def is_halved(constant: Tensor) -> bool:
        r"""Whether a constant is one of those that :meth:`halved` rounds."""
        return constant.is_floating_point() and constant.numel() > MANY

    def names(self) -> set[str]:
        r"""The names of its operations."""
        return {step.name for step in self.steps} - {"input", "constant", "getitem"}


def record(
    function: Callable[[dict[str, Tensor]], Mapping[str, Tensor]], inputs: Mapping[str, Tensor]
) -> Graph:
    r"""Records the operations of a function without gradients, random draws among them.

    What does not depend on inputs or draws is computed now.

    Arguments:
        function: Takes tensors by name, and returns tensors by name.
        inputs: Tensors of the shapes that it will be called with.

    Raises:
        Exception: Whatever PyTorch raises where values of tensors decide what the function does.
    """
    from torch._decomp import core_aten_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    names: list[str] = []

    def flat(*values: Tensor) -> list[Tensor]:
        found = function(dict(zip(inputs, values)))
        names[:] = [*found]
        return [tensor.clone() for tensor in found.values()]

    def traced(program: Any) -> Graph:
        example = [tensor.detach().clone() for tensor in inputs.values()]
        table: Any = core_aten_decompositions()
        module: Any = make_fx(program, decomposition_table=table)(*example)
        if any(_changes_its_input(node) for node in module.graph.nodes):  # recurrent networks
            again = torch.func.functionalize(module)
            module = make_fx(again, decomposition_table=table)(*example)
        return _graph(module, [*inputs.items()], names)

    with torch.no_grad(), torch.random.fork_rng(devices=[]), _Unquestioned():
        function(dict(inputs))  # what it caches must not be made while it is recorded
        try:
            return traced(torch.func.functionalize(flat))
        except RuntimeError as error:
            if "setup_context" not in str(error):  # functions with a gradient of their own
                raise
            return traced(flat)


class _Unquestioned(TorchFunctionMode):
    r"""Makes one-hot rows without looking at the numbers first."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.nn.functional.one_hot and len(args) == 2 and not kwargs:
            codes, count = args
            return (codes[..., None] == torch.arange(count, device=codes.device)).to(codes.dtype)
        return function(*args, **(kwargs or {}))


def _changes_its_input(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _graph(module: Any, inputs: list[tuple[str, Tensor]], names: list[str]) -> Graph:
    r"""The steps of a traced module that its outputs need."""
    steps: list[Step] = []
    values: list[Any] = []  # what each step returns for these inputs
    fixed: list[bool] = []  # whether it is the same for all inputs
    place: dict[Node, int] = {}
    waiting = iter(inputs)
    outputs: list[Node] = []
    for node in module.graph.nodes:
        if node.op == "output":
            outputs = [*tree_leaves(node.args)]
            continue
        if node.op == "placeholder":
            name, value = next(waiting)
            step, constant = Step("input", [name], [*value.shape]), False
        elif node.op == "get_attr":
            value = _attribute(module, node.target)
            step, constant = Step("constant", [value], [*value.shape]), True
        else:
            step, value, constant = _call(node, place, values, fixed)
        place[node] = len(steps)
        steps.append(step)
        values.append(value)
        fixed.append(constant)
    return _needed(steps, dict(zip(names, (place[node] for node in outputs))))


def _call(
    node: Node, place: Mapping[Node, int], values: list[Any], fixed: list[bool]
) -> tuple[Step, Any, bool]:
    r"""The step of a call, what it returns, and whether it is the same for all inputs."""
    target: Any = node.target
    refer = lambda a: Value(place[a]) if isinstance(a, Node) else a  # noqa: E731
    if not isinstance(target, torch._ops.OpOverload):  # operator.getitem
        source: Any = node.args[0]
        arguments: list[Any] = [Value(place[source]), node.args[1]]
        value: Any = values[place[source]][arguments[1]]
        name = "getitem"
    else:
        arguments = [tree_map(refer, argument) for argument in _in_order(node)]
        value = _called(target, [_filled(argument, values) for argument in arguments])
        name = _name(target, arguments, values)
    made_of = [v.step for v in _values_in(arguments)]
    random = name != "getitem" and torch.Tag.nondeterministic_seeded in target.tags
    constant = not random and all(fixed[step] for step in made_of)
    shape = [*value.shape] if isinstance(value, Tensor) else [[*v.shape] for v in value or ()]
    if constant and isinstance(value, Tensor):
        sizes = [values[step].numel() for step in made_of if isinstance(values[step], Tensor)]
        if value.numel() <= max([FEW, *sizes]):
            return Step("constant", [value.contiguous()], shape), value, True
    return Step(name, arguments, shape, target), value, constant


def _name(target: Operation, arguments: list[Any], values: list[Any]) -> str:
    r"""The name of an operation; indices by a mask are another operation than by numbers."""
    name = target.name().removeprefix("aten::")
    masks = [v for v in _values_in(arguments[1:2]) if values[v.step].dtype == torch.bool]
    return f"{name}.mask" if name.startswith("index") and masks else name


def _in_order(node: Node) -> list[Any]:
    r"""The arguments of a call in the order of the operation's schema, defaults among them."""
    target: Any = node.target
    schema = target._schema.arguments
    given = dict(zip((a.name for a in schema), node.args)) | node.kwargs
    return [given.get(a.name, a.default_value) for a in schema]


def _called(target: Operation, arguments: list[Any]) -> Any:
    schema = target._schema.arguments
    plain = [v for a, v in zip(schema, arguments) if not a.kwarg_only]
    return target(*plain, **{a.name: v for a, v in zip(schema, arguments) if a.kwarg_only})


def _filled(argument: Any, values: list[Any]) -> Any:
    r"""An argument with values in the places of their numbers."""
    if isinstance(argument, Value):
        return values[argument.step]
    if isinstance(argument, list | tuple):
        return [_filled(part, values) for part in argument]
    return argument


def _values_in(arguments: Any) -> list[Value]:
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, list | tuple):
        return [value for part in arguments for value in _values_in(part)]
    return []


def _needed(steps: list[Step], outputs: dict[str, int]) -> Graph:
    r"""The graph of the steps that the outputs are made of, numbered anew."""
    needed: set[int] = set()
    waiting = [*outputs.values()]
    while waiting:
        step = waiting.pop()
        if step not in needed:
            needed.add(step)
            waiting += [value.step for value in _values_in(steps[step].arguments)]
    number = {old: new for new, old in enumerate(sorted(needed))}

    def renumbered(argument: Any) -> Any:
        if isinstance(argument, Value):
            return Value(number[argument.step])
        if isinstance(argument, list | tuple):
            return [renumbered(part) for part in argument]
        return argument

    kept = [steps[i]._replace(arguments=renumbered(steps[i].arguments)) for i in sorted(needed)]
    return Graph(kept, {name: number[step] for name, step in outputs.items()})


def _attribute(module: Any, path: str) -> Tensor:
    for name in path.split("."):
        module = getattr(module, name)
    return module.detach()
