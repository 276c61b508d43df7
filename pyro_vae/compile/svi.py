r"""Stochastic variational inference whose step is one compiled graph."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import ismethod
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.optim import Optimizer

from .backend import Backend
from .cache import Cache, Call
from .optimizers import optimized_parameters
from .record import NotStatic
from .step import FusedStep, Mismatch


class CompiledSVI:
    r"""Creates stochastic variational inference as :class:`pyro.infer.SVI`, one graph a step.

    The first step runs eagerly: it makes the parameters, and Pyro's checks look at the programs.
    Then loss, gradients and the optimizer's update are recorded once for every kind of arguments
    and compiled. Parameters and optimizer state change in place, so that ``state_dict`` sees every
    step, and random draws are those of SVI under the same seed.

    Model and guide must be static: a Python branch on a sampled value is found and refused.
    Floats among the arguments may change freely; other numbers, and Python attributes that the
    programs read, are held fixed. Steps 2, 10, 100 and every thousandth are compared with the
    eager program, and a difference stops with an error before any parameter moves.

    Arguments:
        model: Any Pyro model.
        guide: Its guide.
        optimizer: A :mod:`pyro.optim` optimizer, or a class or instance of :mod:`torch.optim`.
            The update of Adam, AdamW, SGD, RMSprop and ClippedAdam is in the graph; others step
            eagerly on its gradients.
        loss: A :class:`pyro.infer.ELBO`, or a function of model, guide and their arguments that
            returns the loss or has it as an attribute ``loss``, such as an objective of
            :mod:`pyro_vae.objectives`.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        not_static: ``"raise"``, or ``"eager"`` to go on without a graph where there can be none.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyro.infer import Trace_ELBO
        >>> from pyro.infer.autoguide import AutoNormal
        >>> pyro.clear_param_store()
        >>> def model(x):
        ...     loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> adam = pyro.optim.Adam({"lr": 0.1})
        >>> svi = CompiledSVI(model, AutoNormal(model), adam, Trace_ELBO(), backend="graph")
        >>> losses = svi.run(100, torch.ones(10))
        >>> losses.shape
        torch.Size([100])
        >>> pyro.clear_param_store()
    """

    def __init__(
        self,
        model: Callable,
        guide: Callable,
        optimizer: PyroOptim | Optimizer | type[Optimizer],
        loss: ELBO | Callable,
        *,
        backend: Backend = "inductor",
        not_static: Literal["raise", "eager"] = "raise",
    ) -> None:
        if not isinstance(optimizer, PyroOptim | Optimizer | type):
            raise ValueError(
                "Expected an optimizer of pyro.optim, or a class or instance of torch.optim; got "
                f"{optimizer!r}."
            )
        if not callable(loss) and not isinstance(loss, ELBO):
            raise ValueError(f"Expected an ELBO or a function as loss; got {loss!r}.")
        self.model, self.guide, self.optimizer, self.loss = model, guide, optimizer, loss
        self.backend, self.not_static = backend, not_static
        self.fused: FusedStep | None = None
        self.losses: Cache | None = None
        self.modules = owners(model, guide)
        self.parameters: dict[str, Tensor] = {}
        self.with_gradient: set[int] = set()
        self.eager = False

    # --- What SVI offers ------------------------------------------------------------------------

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""Takes a gradient step; returns the loss, a 0-dim tensor on the device."""
        if self.fused is None or self.eager:
            return self._eager_step(*args, **kwargs)
        try:
            outputs = self.fused(*args, **kwargs)
        except (NotStatic, Mismatch) as error:
            self._give_up(error)
            return self._eager_step(*args, **kwargs)
        return outputs[0] if len(outputs) == 2 else torch.stack(outputs[:-1])

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""Returns an estimate of the loss, a 0-dim tensor; no parameter moves."""
        if self.losses is None:
            device = self.fused.device if self.fused else torch.device("cpu")
            self.losses = Cache(self._evaluate, device, self.backend, self.modules)
        if self.fused is None or self.eager:
            return self._evaluate(args, kwargs)[0]
        call = Call.of(args, kwargs)
        try:
            compiled = self.losses.get(call)
        except NotStatic as error:
            self._give_up(error)
            return self._evaluate(args, kwargs)[0]
        return compiled.function(*compiled.inputs(call.inputs))[0]

    def run(
        self, num_steps: int, *args: Any, batch_size: int | None = None, **kwargs: Any
    ) -> Tensor:
        r"""Takes steps.

        Arguments:
            num_steps: How many.
            args: The arguments of each step.
            batch_size: If given, each step sees that many rows of those arguments that are tensors
                with as many rows as the first. Every row comes once in a random order before any
                comes again.
            kwargs: Arguments by name, of which rows are taken in the same way.

        Returns:
            The losses, of shape `(num_steps,)`.
        """
        every, names = (*args, *kwargs.values()), (*kwargs,)
        order = None
        if batch_size is not None:
            order = shuffled(len(every[0]), batch_size, num_steps).to(every[0].device)
        losses = []
        for i in range(num_steps):
            batch = every if order is None else gather(order[i], every)
            count = len(batch) - len(names)
            losses.append(self.step(*batch[:count], **dict(zip(names, batch[count:]))))
        return torch.stack(losses)

    @property
    def bad_steps(self) -> int:
        r"""How many steps were not finite and moved nothing; asking waits for the device."""
        return int(self.fused.bad_steps) if self.fused else 0

    def explain_graph(self) -> str:
        r"""Tells what was recorded, and for which kinds of arguments."""
        lines = [f"step {self.fused.cache.explain()}"] if self.fused else []
        if self.losses is not None:
            lines.append(f"loss {self.losses.explain()}")
        return "\n".join(lines) or "No step was recorded yet."

    # --- Steps ----------------------------------------------------------------------------------

    def _eager_step(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""Takes a step as SVI does, with every check that is on."""
        found_by = poutine.trace(param_only=True)
        with torch.enable_grad(), found_by as capture, store_updated_in_place():
            losses = self._losses_and_grads(*args, **kwargs)
        self.parameters = owned(capture.trace)
        parameters = list({id(p): p for p in self.parameters.values()}.values())
        if isinstance(self.loss, nn.Module):
            parameters += [p for p in self.loss.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(
                "Expected parameters to train; got none from model and guide. Declare them by "
                "pyro.param, pyro.module or PyroModule."
            )
        self._zero_gradients(parameters)
        if isinstance(self.optimizer, type):
            self.optimizer = self.optimizer(parameters)
        if isinstance(self.optimizer, Optimizer):
            self.optimizer.step()
        else:
            self.optimizer(parameters)
        pyro.infer.util.zero_grads(parameters)
        if self.fused is None:
            self.fused = FusedStep(
                self._program,
                optimized_parameters(self.optimizer, parameters),
                backend=self.backend,
                modules=self.modules,
            )
        losses = [torch.as_tensor(loss, device=self.fused.device) for loss in losses]
        return losses[0] if len(losses) == 1 else torch.stack(losses)

    def _program(self, *args: Any, **kwargs: Any) -> list[Any]:
        r"""Loss and gradients, as they are recorded."""
        with poutine.trace(param_only=True) as capture, store_updated_in_place():
            losses = self._losses_and_grads(*args, **kwargs)
        found = owned(capture.trace)
        for name, parameter in found.items():
            if self.parameters.get(name) is not parameter:
                raise NotStatic(
                    f"Expected the parameters of the first step; got {name!r}, which is new. Make "
                    "all parameters in the first step, leave the param store as it is, or make a "
                    "new CompiledSVI."
                )
        self._zero_gradients(found.values())
        return losses

    def _zero_gradients(self, parameters: Iterable[Tensor]) -> None:
        r"""Gives parameters a gradient of zero that have none now and had one, as SVI does."""
        for p in parameters:
            if p.grad is None and id(p) in self.with_gradient:
                p.grad = torch.zeros_like(p)
            elif p.grad is not None and id(p) not in self.with_gradient:
                self.with_gradient.add(id(p))
                if self.fused is not None:
                    self.fused.cache.entries.clear()

    def _losses_and_grads(self, *args: Any, **kwargs: Any) -> list[Any]:
        if isinstance(self.loss, ELBO):
            loss = self.loss.loss_and_grads(self.model, self.guide, *args, **kwargs)
            return list(loss) if isinstance(loss, tuple) else [loss]
        loss = self.loss(self.model, self.guide, *args, **kwargs)
        loss = getattr(loss, "loss", loss)  # of the terms of an objective
        loss.backward()
        return [loss.detach()]

    def _evaluate(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        with torch.no_grad():
            if isinstance(self.loss, ELBO):
                loss = self.loss.loss(self.model, self.guide, *args, **kwargs)
            else:
                loss = self.loss(self.model, self.guide, *args, **kwargs)
                loss = getattr(loss, "loss", loss)
            return [torch.as_tensor(loss)]

    def _give_up(self, error: Exception) -> None:
        r"""Goes on eagerly after a refusal, if that is wanted."""
        if self.not_static == "raise":
            raise error
        self.eager = True
        warnings.warn(f"SVI goes on eagerly: {error}", stacklevel=4)


def owners(*programs: Callable) -> list[nn.Module]:
    r"""Returns the modules that programs are, or are methods of."""
    found = [program.__self__ if ismethod(program) else program for program in programs]
    return [module for module in found if isinstance(module, nn.Module)]


def shuffled(rows: int, batch_size: int, num_steps: int) -> Tensor:
    r"""Returns row numbers for each step, of shape `(num_steps, batch_size)`."""
    if not 0 < batch_size <= rows:
        raise ValueError(f"Expected a batch size from 1 to {rows}; got {batch_size}.")
    epochs = -(-num_steps * batch_size // rows)
    order = torch.cat([torch.randperm(rows) for _ in range(epochs)])
    return order[: num_steps * batch_size].reshape(num_steps, batch_size)


def gather(row: Tensor, args: tuple) -> tuple:
    r"""Takes a batch of rows from the arguments that have as many as the first."""
    count = len(args[0])
    return tuple(
        a[row] if isinstance(a, Tensor) and a.dim() and len(a) == count else a for a in args
    )


def owned(trace: poutine.Trace) -> dict[str, Tensor]:
    r"""Returns the unconstrained tensor behind each ``param`` site, by name."""
    store = pyro.get_param_store()._params
    sites = trace.nodes.items()
    return {name: store.get(name, site["value"].unconstrained()) for name, site in sites}


@contextmanager
def store_updated_in_place() -> Iterator[None]:
    r"""Lets what a program assigns to the param store overwrite the tensor that is there.

    Pyro's decaying-average baseline assigns a new tensor in every step; a graph changes one.
    """
    store = pyro.get_param_store()
    before = dict(store._params)
    try:
        yield
    finally:
        for name, old in before.items():
            new = store._params.get(name)
            if new is not None and new is not old and new.shape == old.shape:
                with torch.no_grad():
                    old.copy_(new)
                store._params[name] = old
                del store._param_to_name[new]
