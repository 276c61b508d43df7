r"""Several models of one Pyro program, each with parameters, optimizer and draws of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pyro.ops.provenance import detach_provenance
from torch import Generator, Tensor

from .arguments import Call, Inputs
from .backend import Backend
from .externals import Externals
from .many import ManySteps, drawing_from
from .record import NotStatic
from .store import Contents, contents, fill, store_of


class Several:
    r"""Creates the inference of several models of one program, which one step moves.

    The first step of each starts from the values that modules and the parameter store have now;
    what it makes and changes is kept apart. Outside of :meth:`using`, the program is that of the
    first model.

    Arguments:
        make: Makes the inference of one model, with an optimizer of its own.
        seeds: The seed of each model's draws.
        backend: As in :class:`~.svi.CompiledSVI`.
    """

    def __init__(self, make: Callable[[], Any], seeds: Sequence[int], backend: Backend) -> None:
        self.models = [make() for _ in seeds]
        self.generators = [Generator().manual_seed(seed) for seed in seeds]
        self.backend: Backend = backend
        self.stores: list[Contents] = []
        self.buffers: list[list[Tensor]] = []
        self.values: list[list[Tensor]] = []
        self.many: ManySteps | None = None
        self.refused = False

    def __call__(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes a step of every model; returns their losses, of shape `(M, ...)`."""
        if not self.stores:
            return self.first_step(args, kwargs)
        if self.refused:
            return self.each(lambda model: model._eager_step(*args, **kwargs))
        call = Call.of(args, kwargs)
        if self.many is None:
            self.many = self.make(call)
        if call.key != self.many.call.key or not self.many.watch.holds():
            return self.each(lambda model: model._eager_step(*args, **kwargs))
        for model in self.models:
            self.bind(model.fused)
        inputs = Inputs(call.inputs, self.models[0].fused.device)(call.inputs)
        outputs = self.many(*(x.expand(len(self.models), *x.shape) for x in inputs))
        return outputs[0] if len(outputs) == 2 else torch.stack(outputs[:-1], dim=1)

    def first_step(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes the first step of each model from where the program is now."""
        losses = []
        for model, generator in zip(self.models, self.generators):
            own = contents()
            with store_of(own), drawing_from(generator), Externals() as seen:
                losses.append(model._eager_step(*args, **kwargs))
            if model.fused is None or model.refusal is not None:
                raise model.refusal or NotStatic("Expected parameters to train; got none.")
            trained, count = model.fused.tensors(), len(model.fused.parameters)
            others = [tensor for tensor, _ in seen.before]
            others += map(detach_provenance, own["_params"].values())
            known = {id(tensor) for tensor in trained}
            buffers = {id(tensor): tensor for tensor in others if id(tensor) not in known}
            copied = [t.detach().clone() for t in (*trained[:count], *buffers.values())]
            state = [tensor.detach() for tensor in trained[count:]]  # its optimizer's alone
            self.stores.append(own)
            self.buffers.append([*buffers.values()])
            self.values.append([*copied[:count], *state, *copied[count:]])
            seen.restore()
        self.enter(0)
        fill(self.stores[0])
        return torch.stack(losses)

    def make(self, call: Call) -> ManySteps:
        r"""Records the step of the first model, and maps it over all."""
        steps = [model.fused for model in self.models]
        given = steps, self.buffers, call, self.generators, self.backend
        return ManySteps(*given, values=self.values, around=self.using)

    def bind(self, fused: Any) -> None:
        r"""Takes up the learning rate that a model's optimizer has now."""
        if fused.options.decaying:
            fused.options.decay()
        if fused.options.changed(fused.parameter_groups):
            raise NotStatic(
                "Expected options of the optimizer that stay, but for the learning rate; got "
                "others. Create another CompiledSVI."
            )

    def each(self, action: Callable[[Any], Any]) -> Tensor:
        r"""Lets every model act by itself; returns what they return, stacked."""
        found = []
        for i, model in enumerate(self.models):
            with self.using(i):
                found.append(torch.as_tensor(action(model)))
        return torch.stack(found)

    def bad_steps(self) -> list[int]:
        r"""How many steps of each model were not finite and moved nothing."""
        if self.many is None:
            return [int(model.bad_steps) for model in self.models]
        count = len(self.models[0].fused.tensors()) - 1
        return [int(self.many.memory(i)[count]) for i in range(len(self.models))]

    @contextmanager
    def using(self, i: int) -> Iterator[None]:
        r"""Makes the program that of one of the models inside the context."""
        self.enter(i)
        try:
            with store_of(self.stores[i]), drawing_from(self.generators[i]):
                yield
        finally:
            self.enter(0)

    def enter(self, i: int) -> None:
        r"""Lets the program's tensors be those of a model."""
        tensors = [*self.models[i].fused.tensors(), *self.buffers[i]]
        memory = self.values[i] if self.many is None else self.many.memory(i)
        for tensor, place in zip(tensors, memory):
            tensor.data = place
