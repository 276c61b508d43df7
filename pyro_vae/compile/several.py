r"""Several models of one Pyro program, each with parameters, optimizer and draws of its own."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch
from pyro.ops.provenance import detach_provenance
from torch import Generator, Tensor
from torch.utils._pytree import tree_leaves

from .arguments import Call, Inputs
from .backend import Backend
from .counter import COUNTED, CounterNoise, NoCounterForm
from .externals import Externals
from .many import ManySteps, drawing_from, stack
from .record import NotStatic
from .store import Contents, contents, fill, store_of

CPU = torch.device("cpu")


class Several:
    r"""Creates the inference of several models of one program, which one step moves.

    The first step of each starts from the values that modules and the parameter store have now;
    what it makes and changes is kept apart. Outside of :meth:`using`, the program is that of the
    first model. On a GPU, whose generator is one for all, they draw by counter.

    Arguments:
        make: Makes the inference of one model, with an optimizer of its own.
        seeds: The seed of each model's draws.
        backend: As in :class:`~.svi.CompiledSVI`.
    """

    def __init__(self, make: Callable[[], Any], seeds: Sequence[int], backend: Backend) -> None:
        self.new, self.seeds, self.backend = make, seeds, backend
        self.many: ManySteps | None = None
        self.refused, self.counted = False, True
        self.begin()

    def begin(self, device: torch.device = CPU) -> None:
        r"""Makes the models, which have taken no step."""
        self.models = [self.new() for _ in self.seeds]
        self.generators = [Generator().manual_seed(seed) for seed in self.seeds]
        self.own = [[generator] for generator in self.generators]  # and on a GPU
        for own, model, seed in zip(self.own, self.models, self.seeds):
            if device.type == "cuda":
                own.append(Generator(device).manual_seed(seed))
            if self.counted and device.type in COUNTED:
                model.noise = CounterNoise(seed, device)
        self.stores: list[Contents] = []
        self.tensors: list[list[Tensor]] = []  # of each model: parameters, then buffers
        self.values: list[list[Tensor]] = []  # where they are until a step of all is made

    def __call__(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes a step of every model; returns their losses, of shape `(M, ...)`."""
        if not self.stores:
            try:
                return self.begun(args, kwargs)
            except BaseException:
                self.begin()
                raise
        if self.refused:
            return self.step_each(args, kwargs)
        call = Call.of(args, kwargs)
        if self.many is None:
            self.many = self.make(call)
        if call.key != self.many.call.key or not self.many.watch.holds():
            return self.step_each(args, kwargs)
        for model in self.models:
            self.bind(model.fused)
        inputs = Inputs(call.inputs, self.models[0].fused.device)(call.inputs)
        outputs = self.many(*(stack([x] * len(self.models)) for x in inputs))
        return outputs[0] if len(outputs) == 2 else torch.stack(outputs[:-1], dim=1)

    def begun(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes the first step where the arguments are; a draw without a form by counter lets
        the models take turns."""
        tensors = (leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        device = next((x.device for x in tensors), torch.get_default_device())
        try:
            if device != CPU:
                self.begin(device)
            return self.first_step(args, kwargs)
        except NoCounterForm as error:
            reason = str(error).partition("\n")[0]
            warnings.warn(f"Models take turns, with PyTorch's generators: {reason}", stacklevel=5)
            self.refused, self.counted = True, False
            self.begin(device)
            return self.first_step(args, kwargs)

    def first_step(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes the first step of each model from where the program is now."""
        losses, stores = [], []
        for model, generators in zip(self.models, self.own):
            own = contents()
            seen = Externals()
            try:
                with store_of(own), drawing_from(*generators), seen:
                    losses.append(model._eager_step(*args, **kwargs))
                if model.fused is None or model.refusal is not None:
                    raise model.refusal or NotStatic("Expected parameters to train; got none.")
                parameters = parameters_of(model)
                known = {id(tensor) for tensor in model.fused.tensors()}
                others = [tensor for tensor, _ in seen.before]
                others += map(detach_provenance, own["_params"].values())
                others += model.noise.tensors() if model.noise else []
                buffers = {id(tensor): tensor for tensor in others if id(tensor) not in known}
                self.tensors.append([*parameters, *buffers.values()])
                self.values.append([t.detach().clone() for t in self.tensors[-1]])
            finally:
                seen.restore()
            stores.append(own)
        self.stores = stores
        self.enter(0)
        fill(stores[0])
        return torch.stack(losses)

    def make(self, call: Call) -> ManySteps:
        r"""Records the step of the first model, and maps it over all."""
        steps = [model.fused for model in self.models]
        count = len(steps[0].parameters)

        def values() -> list[list[Tensor]]:  # with what the optimizers hold now
            state = [[t.detach() for t in step.tensors()[count:]] for step in steps]
            return [[*v[:count], *own, *v[count:]] for v, own in zip(self.values, state)]

        buffers = [tensors[count:] for tensors in self.tensors]
        given = steps, buffers, call, self.generators, self.backend
        return ManySteps(*given, values=values, around=self.using)

    def bind(self, fused: Any) -> None:
        r"""Takes up the learning rate that a model's optimizer has now."""
        if fused.options.decaying:
            fused.options.decay()
        if fused.options.changed(fused.parameter_groups):
            raise NotStatic(
                "Expected options of the optimizer that stay, but for the learning rate; got "
                "others. Create another CompiledSVI."
            )

    def step_each(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes a step of one model after the other."""
        losses = self.each(lambda model: model._eager_step(*args, **kwargs))
        for model, tensors in zip(self.models, self.tensors):
            parameters = parameters_of(model)
            if len(tensors) < len(parameters) or not all(map(is_, parameters, tensors)):
                raise NotStatic(
                    "Expected the parameters of the first step; got others. Make all parameters "
                    "in the first step, or train the models one by one."
                )
        return losses

    def each(self, action: Callable[[Any], Any]) -> Tensor:
        r"""Lets every model act by itself; returns what they return, stacked."""
        found = []
        for i, model in enumerate(self.models):
            with self.using(i):
                found.append(torch.as_tensor(action(model)))
        return torch.stack(found)

    def bad_steps(self) -> list[int]:
        r"""How many steps of each model were not finite and moved nothing."""
        return [int(self.count_of(i)) for i in range(len(self.models))]

    def count_of(self, i: int) -> Tensor | int:
        if self.many is None or self.models[i].fused is None:
            return self.models[i].bad_steps
        return self.many.memory(i)[len(self.models[i].fused.tensors()) - 1]

    @contextmanager
    def using(self, i: int) -> Iterator[None]:
        r"""Makes the program that of one of the models inside the context."""
        if not self.stores:
            raise ValueError("Expected a first step, which makes the models; got none yet.")
        self.enter(i)
        try:
            with store_of(self.stores[i]), drawing_from(*self.own[i]):
                yield
        finally:
            self.enter(0)

    def enter(self, i: int) -> None:
        r"""Lets the program's tensors be those of a model."""
        memory = self.values[i]
        if self.many is not None:
            places, fused = self.many.memory(i), self.models[i].fused
            memory = places[: len(fused.parameters)] + places[len(fused.tensors()) :]
        for tensor, place in zip(self.tensors[i], memory):
            tensor.data = place


def parameters_of(model: Any) -> list[Tensor]:
    r"""The parameters that a model's step moves."""
    return [detach_provenance(item.parameter) for item in model.fused.parameters]
