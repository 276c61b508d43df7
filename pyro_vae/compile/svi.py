r"""Stochastic variational inference whose step is one compiled graph."""

import warnings
from collections.abc import Callable, Iterable
from inspect import ismethod
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.optim import Optimizer

from ..objectives import Objective
from .backend import Backend
from .cache import Cache
from .seam import NotStatic
from .signature import Call
from .slots import SMALL, slots_of
from .step import FusedStep, Mismatch
from .store import owned, values_kept_in_place

STEPS_PER_CALL = 4  # more take longer to compile and gain little


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
        loss: A :class:`pyro.infer.ELBO`, a :class:`pyro_vae.objectives.Objective`, or a function
            of model, guide and their arguments.
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
        loss: ELBO | Objective | Callable,
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
        self.gathered: FusedStep | None = None
        self.losses: Cache | None = None
        self.modules = owners(model, guide)
        self.parameters: dict[str, Tensor] = {}
        self.moved: set[int] = set()
        self.eager = False
        self._calls = 0

    # --- What SVI offers ------------------------------------------------------------------------

    def step(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""Takes a gradient step; returns the loss, a 0-dim tensor on the device."""
        if self.fused is None or self.eager:
            return self._eager_step(*args, **kwargs)
        try:
            figures = self.fused(*args, **kwargs)
        except (NotStatic, Mismatch) as error:
            self._give_up(error)
            return self._eager_step(*args, **kwargs)
        return figures[0] if len(figures) == 2 else torch.stack(figures[:-1])

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
        r"""Takes steps, several in a call where the model is small.

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
        order = None
        if batch_size is not None:
            first = next(iter((*args, *kwargs.values())))
            order = shuffled(len(first), batch_size, num_steps).to(first.device)
        losses: list[Tensor] = []
        taken = 0
        while taken < num_steps:
            size = self._steps_per_call()
            size = size if taken + size <= num_steps and (order is not None or not kwargs) else 1
            rows = None if order is None else order[taken : taken + size]
            losses.append(self._steps(size, args, kwargs, rows))
            taken += size
        return torch.cat(losses)

    @property
    def bad_steps(self) -> int:
        r"""How many steps were not finite and moved nothing; asking waits for the device."""
        return sum(int(fused.bad_steps) for fused in (self.fused, self.gathered) if fused)

    def explain_graph(self) -> str:
        r"""Tells what was recorded, and for which kinds of arguments."""
        caches = {"step": self.fused, "step of a batch": self.gathered}
        lines = [f"{name} {fused.cache.explain()}" for name, fused in caches.items() if fused]
        if self.losses is not None:
            lines.append(f"loss {self.losses.explain()}")
        return "\n".join(lines) or "No step was recorded yet."

    # --- Steps ----------------------------------------------------------------------------------

    def _steps(
        self, size: int, args: tuple, kwargs: dict[str, Any], rows: Tensor | None
    ) -> Tensor:
        r"""Takes steps on batches of rows, or on the arguments as they are."""
        every, names = (*args, *kwargs.values()), (*kwargs,)
        if self.fused is None or self.eager:
            batches = [every] * size if rows is None else [gather(row, every) for row in rows]
            calls = [apart(batch, names) for batch in batches]
            return torch.stack([self.step(*given, **known) for given, known in calls])
        fused, stacked = self.fused, [False] * len(every)
        if rows is not None:
            if self.gathered is None:
                self.gathered = self._gathered(names)
            fused, stacked, every = self.gathered, [True, *stacked], (rows, *every)
        try:
            if size > 1:
                return fused.several(size, *every, stacked=stacked)[0]
            if rows is None:
                return fused(*args, **kwargs)[0][None]
            return fused(*(a[0] if own else a for a, own in zip(every, stacked)))[0][None]
        except (NotStatic, Mismatch) as error:
            self._give_up(error)
            return self._steps(size, args, kwargs, rows)

    def _gathered(self, names: tuple[str, ...]) -> FusedStep:
        r"""A step that takes its batch out of all rows by itself."""
        assert self.fused is not None

        def program(row: Tensor, *every: Any) -> list[Any]:
            args, kwargs = apart(gather(row, every), names)
            return self._program(*args, **kwargs)

        return FusedStep(program, self.fused.slots, backend=self.backend, modules=self.modules)

    def _steps_per_call(self) -> int:
        r"""One at first and now and then, when a step is checked; several where that pays."""
        self._calls += 1
        if self.fused is None or self.fused.left or self._calls < 5 or self._calls % 250 == 0:
            return 1
        small = sum(slot.parameter.numel() for slot in self.fused.slots) < SMALL
        return STEPS_PER_CALL if small else 1

    def _eager_step(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""Takes a step as SVI does, with every check that is on."""
        found_by = poutine.trace(param_only=True)
        with torch.enable_grad(), found_by as capture, values_kept_in_place():
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
                slots_of(self.optimizer, parameters),
                backend=self.backend,
                modules=self.modules,
            )
        losses = [torch.as_tensor(loss, device=self.fused.device) for loss in losses]
        return losses[0] if len(losses) == 1 else torch.stack(losses)

    def _program(self, *args: Any, **kwargs: Any) -> list[Any]:
        r"""Loss and gradients, as they are recorded."""
        with poutine.trace(param_only=True) as capture, values_kept_in_place():
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
            if p.grad is None and id(p) in self.moved:
                p.grad = torch.zeros_like(p)
            elif p.grad is not None and id(p) not in self.moved:
                self.moved.add(id(p))
                for fused in (self.fused, self.gathered):
                    if fused is not None:
                        fused.cache.entries.clear()

    def _losses_and_grads(self, *args: Any, **kwargs: Any) -> list[Any]:
        if isinstance(self.loss, ELBO):
            loss = self.loss.loss_and_grads(self.model, self.guide, *args, **kwargs)
            return list(loss) if isinstance(loss, tuple) else [loss]
        loss = self.loss(self.model, self.guide, *args, **kwargs)
        loss = loss.loss if isinstance(self.loss, Objective) else loss
        loss.backward()
        return [loss.detach()]

    def _evaluate(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        with torch.no_grad():
            if isinstance(self.loss, ELBO):
                loss = self.loss.loss(self.model, self.guide, *args, **kwargs)
            else:
                loss = self.loss(self.model, self.guide, *args, **kwargs)
                loss = loss.loss if isinstance(self.loss, Objective) else loss
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


def apart(every: tuple, names: tuple[str, ...]) -> tuple[tuple, dict[str, Any]]:
    r"""Arguments by position, and those at the end by their names."""
    count = len(every) - len(names)
    return every[:count], dict(zip(names, every[count:]))


def gather(row: Tensor, args: tuple) -> tuple:
    r"""Takes a batch of rows from the arguments that have as many as the first."""
    count = len(args[0])
    return tuple(
        a[row] if isinstance(a, Tensor) and a.dim() and len(a) == count else a for a in args
    )
