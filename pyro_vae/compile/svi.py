r"""Stochastic variational inference whose step is one compiled graph."""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import getitem, is_
from typing import Any, Literal

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.ops.provenance import detach_provenance
from pyro.optim import PyroOptim
from pyro.optim.lr_scheduler import PyroLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from ..ranks import here
from .backend import Backend
from .cache import Cache
from .conditions import Condition, Place
from .counter import CounterNoise
from .optimizers import optimized_parameters
from .record import NotStatic
from .several import Several
from .step import FusedStep, Mismatch, checked_call
from .store import owned, store_updated_in_place


class CompiledSVI:
    r"""Creates stochastic variational inference as :class:`pyro.infer.SVI`, one graph a step.

    The first step of each kind runs eagerly: it makes the parameters, and Pyro's checks look at
    the programs. Then loss, gradients and the optimizer's update are recorded and compiled.
    Parameters and optimizer state change in place, so that ``state_dict`` sees every step, and
    random draws are those of SVI under the same seed.

    Every step is the one that SVI would take, or is refused in a sentence. A Python branch on a
    sampled value or a parameter is refused. Floats among the arguments may change freely; numbers
    that only arguments, buffers and constants decide lead to further graphs, as do attributes,
    globals, training flags, hooks, autocast and the optimizer's options when they change. What
    Python can hide besides is held fixed (``docs/compiled.md`` names it); calls 1, 2, 10, 100 and
    every thousandth of a graph are compared with the eager program, and a difference stops with an
    error before any parameter moves. A step whose gradient is not finite moves nothing and counts
    in :attr:`bad_steps`.

    Arguments:
        model: Any Pyro model.
        guide: Its guide.
        optim: A :mod:`pyro.optim` optimizer, or a class or instance of :mod:`torch.optim`. The
            update of Adam, AdamW, SGD, RMSprop and ClippedAdam is in the graph; others step
            eagerly on its gradients.
        loss: A :class:`pyro.infer.ELBO`, or a function of model, guide and their arguments that
            returns the loss or has it as an attribute ``loss``, such as an objective of
            :mod:`pyro_vae.objectives`. Of a ``Jit`` ELBO the plain one is taken.
        loss_and_grads: If given, a function that computes gradients, too, instead of `loss`.
        num_samples: As in SVI, for :meth:`SVI.run`.
        num_steps: As in SVI, for :meth:`SVI.run`.
        optimizer: Another name of `optim`.
        backend: ``"inductor"``, or ``"graph"`` for the recorded operations one by one.
        not_static: ``"raise"``, or ``"eager"`` to go on without a graph where there can be none.
        num_models: If given, so many models of this program are trained by one step, each with
            parameters, optimizer and draws of its own; losses are of shape `(num_models,)`. All
            start from the values that modules and the parameter store have at the first step, and
            :meth:`using` makes the program that of one of them.
        seeds: The seed of each model's draws, 0, 1, ... by default: a model is what it would be
            alone after :func:`pyro.set_rng_seed`; on a GPU, whose draws are by counter, what it
            is as the only one.

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
        optim: PyroOptim | Optimizer | type[Optimizer] | None = None,
        loss: ELBO | Callable | None = None,
        loss_and_grads: Callable | None = None,
        num_samples: int = 0,
        num_steps: int = 0,
        *,
        optimizer: PyroOptim | Optimizer | type[Optimizer] | None = None,
        backend: Backend = "inductor",
        not_static: Literal["raise", "eager"] = "raise",
        num_models: int | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        here().refuse("SVI")
        optim = optimizer if optim is None else optim
        if not isinstance(optim, PyroOptim | Optimizer | type):
            raise ValueError(
                "Expected an optimizer of pyro.optim, or a class or instance of torch.optim; got "
                f"{optim!r}."
            )
        if not callable(loss) and not isinstance(loss, ELBO):
            raise ValueError(f"Expected an ELBO or a function as loss; got {loss!r}.")
        self.model, self.guide, self.optim = model, guide, optim
        self.objective, self.plain = loss, plain(loss)
        if isinstance(loss, ELBO):
            self.loss, self.loss_and_grads = loss.loss, loss.loss_and_grads
            self.graphed: Callable = self.plain.loss_and_grads
        else:
            self.loss, self.loss_and_grads = loss, loss_and_grads or self._of_function
            self.graphed = self.loss_and_grads
        self.given = self.loss_and_grads
        self.num_samples, self.num_steps = num_samples, num_steps
        self.backend, self.not_static = backend, not_static
        self.fused: FusedStep | None = None
        self.losses: Cache | None = None
        self.losses_of: tuple = ()
        self.parameters: dict[str, Tensor] = {}
        self.with_gradient: set[int] = set()
        self.made_of: tuple = ()
        self.held = Condition()
        self.refusal: NotStatic | None = None
        self.eager = False
        self.noise: CounterNoise | None = None
        self.several = None
        if num_models is not None or seeds is not None:
            seeds = range(num_models or 0) if seeds is None else seeds
            self.several = self._several(seeds, num_models)

    # --- What SVI offers ------------------------------------------------------------------------

    @property
    def optimizer(self) -> Any:
        r"""The optimizer, as ``optim``."""
        return self.optim

    def step(self, *args: Any, **kwargs: Any) -> Any:
        r"""Takes a gradient step; returns the loss, a 0-dim tensor on the device."""
        outputs = None
        if self.several is not None:
            return self._step_all(args, kwargs)
        if self.fused is not None and not self.eager and self._is_as_made():
            try:
                if self.refusal is not None:
                    raise self.refusal
                outputs = self.fused(*args, **kwargs)
            except (NotStatic, Mismatch) as error:
                self._give_up(error)
        if outputs is None:
            return self._eager_step(*args, **kwargs)
        return outputs[0] if len(outputs) == 2 else torch.stack(outputs[:-1])

    def evaluate_loss(self, *args: Any, **kwargs: Any) -> Any:
        r"""Returns an estimate of the loss, a 0-dim tensor; no parameter moves."""
        if self.several is not None:
            return self.several.each(lambda model: model.evaluate_loss(*args, **kwargs))
        parts = (self.model, self.guide, self.loss)
        if self.losses is None or not all(map(is_, parts, self.losses_of)):
            device = self.fused.device if self.fused else torch.device("cpu")
            self.losses = Cache(self._evaluate, device, self.backend, patient=True)
            self.losses_of = parts
        found, outputs = None, None
        if self.fused is not None and not self.eager:
            try:
                found = self.losses.find(args, kwargs)
                outputs = found and checked_call(self.losses, self._evaluate, found)
            except (NotStatic, Mismatch) as error:
                self._give_up(error)
        outputs = outputs or self._evaluate(args, kwargs)
        return outputs[0] if len(outputs) == 1 else torch.stack([*outputs])

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
            The losses, of shape `(num_steps,)`, or `(num_steps, num_models)`.
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
        if self.several is not None:
            return sum(self.several.bad_steps())
        return int(self.fused.bad_steps) if self.fused else 0

    @contextmanager
    def using(self, i: int) -> Iterator[None]:
        r"""Makes the program that of one of several models inside the context.

        Parameters, what modules hold and the parameter store are that model's; draws are of its
        generator. Outside, they are the first model's.
        """
        if self.several is None or not 0 <= i < len(self.several.models):
            count = 0 if self.several is None else len(self.several.models)
            raise ValueError(f"Expected the number of a model below {count}; got {i}.")
        with self.several.using(i):
            yield

    def explain_graph(self) -> str:
        r"""Tells what was recorded, and for which kinds of arguments."""
        lines = [f"step {self.fused.cache.explain()}"] if self.fused else []
        if self.losses is not None:
            lines.append(f"loss {self.losses.explain()}")
        return "\n".join(lines) or "No step was recorded yet."

    # --- Steps ----------------------------------------------------------------------------------

    def _several(self, seeds: Sequence[int], num_models: int | None) -> Several:
        r"""Several models of this program."""
        if len(seeds) != (num_models or len(seeds)) or len({*seeds}) < len(seeds) or not seeds:
            raise ValueError(
                "Expected one or more seeds, as many as num_models, each once; got "
                f"{[*seeds]} and num_models={num_models}."
            )
        if isinstance(self.optim, Optimizer):
            raise ValueError(
                "Expected an optimizer of pyro.optim or a class of torch.optim for several "
                "models; got an instance, which has the parameters of one."
            )

        def make() -> CompiledSVI:
            optim, grads = copy.deepcopy(self.optim), self.given
            given = None if isinstance(self.objective, ELBO) else grads
            return CompiledSVI(self.model, self.guide, optim, self.objective, given)

        return Several(make, seeds, self.backend)

    def _step_all(self, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        r"""Takes a step of several models."""
        assert self.several is not None
        try:
            return self.several(args, kwargs)
        except (NotStatic, Mismatch) as error:
            self._give_up(error)
            self.several.refused = True
            return self.several(args, kwargs)

    def _is_as_made(self) -> bool:
        r"""Tells whether model, guide, optimizer and loss are those of the compiled step."""
        model, guide, optim, loss_and_grads = self.made_of
        return (
            self.model is model
            and self.guide is guide
            and self.optim is optim
            and self.loss_and_grads is loss_and_grads
            and self.held.holds()
        )

    def _eager_step(self, *args: Any, **kwargs: Any) -> Tensor:
        r"""Takes a step as SVI does, with every check that is on."""
        with poutine.trace(param_only=True) as capture, store_updated_in_place() as assigned:
            losses = self._losses(self.loss_and_grads, *args, **kwargs)
        found = owned(capture.trace)
        for name in assigned & found.keys():
            found.pop(name).grad = None
        parameters = list({id(p): p for p in found.values()}.values())
        if isinstance(self.objective, nn.Module):
            parameters += [p for p in self.objective.parameters() if p.requires_grad]
        known = set(self.with_gradient)
        self._zero_gradients(parameters)
        moved = {id(p) for p in parameters if p.grad is not None}
        if self.fused is not None and moved != known:
            self.fused.separate()  # some parameters are ahead of others now
        if isinstance(self.optim, type):
            self.optim = self.optim(parameters)
        if isinstance(self.optim, Optimizer):
            self.optim.step()
        else:
            self.optim(parameters)
        pyro.infer.util.zero_grads(parameters)
        if self._learns_of(found, parameters, losses):
            assert self.fused is not None
            self.fused.cache.find(args, kwargs)  # this kind of call has come once
        losses = [torch.as_tensor(loss) for loss in losses]
        return losses[0] if len(losses) == 1 else torch.stack(losses)

    def _learns_of(self, found: dict[str, Tensor], parameters: list[Tensor], losses: list) -> bool:
        r"""Makes the compiled step, anew if there are other parameters, and tells so."""
        parts = (self.model, self.guide, self.optim, self.loss_and_grads)
        known = {**self.parameters, **found}
        new = [p for p in parameters if id(p) not in map(id, self.parameters.values())]
        if self.fused is None or not self._is_as_made():
            self.made_of, self.parameters = parts, found
            self.losses = None
        elif new and not isinstance(self.optim, Optimizer):
            self.parameters = known
        else:
            return False
        self.held = Condition(held_by(self.optim, parameters))
        every = {id(p): p for p in (*self.parameters.values(), *parameters)}
        self._check_optimizer(parameters)
        members = optimized_parameters(self.optim, [*every.values()])
        if self.fused is not None and self.fused.program == self._program:
            self.fused.take(members)
            return True
        example = next((x for x in (*parameters, *losses) if isinstance(x, Tensor)), None)
        self.fused = FusedStep(
            self._program,
            members,
            backend=self.backend,
            patient=True,
            finite_loss=False,
            device=torch.device("cpu") if example is None else example.device,
            compared=self._given_program if self.not_static == "eager" else None,
        )
        return True

    def _check_optimizer(self, parameters: Iterable[Tensor]) -> None:
        r"""Goes on eagerly with an optimizer of Pyro that steps or clips in a way of its own."""
        if not isinstance(self.optim, PyroOptim):
            return
        clips = [self.optim.grad_clip[p] for p in parameters]
        known = "PyroOptim._get_grad_clip."
        steps = type(self.optim).__call__ in (PyroOptim.__call__, PyroLRScheduler.__call__)
        if not steps or any(c and not c.__qualname__.startswith(known) for c in clips):
            self.refusal = NotStatic(
                "Expected an optimizer that steps and clips as those of pyro.optim do; got "
                f"{type(self.optim).__name__} with a __call__ or a clipping of its own. Run it "
                "eagerly."
            )

    def _program(self, *args: Any, **kwargs: Any) -> list[Any]:
        r"""Loss and gradients, as they are recorded."""
        as_given = self.loss_and_grads is self.given
        return self._run(self.graphed if as_given else self.loss_and_grads, *args, **kwargs)

    def _given_program(self, *args: Any, **kwargs: Any) -> list[Any]:
        r"""The same with the loss as it was given: a ``Jit`` ELBO draws less than the plain one
        where it finds draws without use, and then goes on as it is."""
        return self._run(self.loss_and_grads, *args, **kwargs)

    def _run(self, loss_and_grads: Callable, *args: Any, **kwargs: Any) -> list[Any]:
        in_place = store_updated_in_place(keep_new=False)
        with poutine.trace(param_only=True) as capture, in_place as assigned:
            losses = self._losses(loss_and_grads, *args, **kwargs)
        found = owned(capture.trace)
        for name in assigned & found.keys():
            found.pop(name).grad = None
        for name, parameter in found.items():
            if self.parameters.get(name) is not parameter:
                raise NotStatic(
                    f"Expected the parameters of the step before; got {name!r}, which is new. "
                    "Make all parameters in the first step, or leave the param store as it is."
                )
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                raise NotStatic(
                    f"Expected gradients that are not sparse; got a sparse one for {name!r}, as "
                    "nn.Embedding(sparse=True) gives. Set sparse=False, or run it eagerly."
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
                    self.fused.cache.clear()
            if p.grad is not None and type(p.grad) is not Tensor:
                p.grad = detach_provenance(p.grad)

    def _losses(self, loss_and_grads: Callable, *args: Any, **kwargs: Any) -> list[Any]:
        r"""Returns the losses; the gradients go into ``.grad``."""
        with self.noise.program() if self.noise else nullcontext():
            loss = detach_provenance(loss_and_grads(self.model, self.guide, *args, **kwargs))
        return list(loss) if isinstance(loss, tuple) else [loss]

    def _of_function(self, *args: Any, **kwargs: Any) -> Any:
        loss = self.loss(*args, **kwargs)
        loss = getattr(loss, "loss", loss)  # of the terms of an objective
        if getattr(loss, "requires_grad", False):
            loss.backward()
        return loss.detach() if isinstance(loss, Tensor) else loss

    def _evaluate(self, args: tuple, kwargs: dict[str, Any]) -> list[Tensor]:
        with torch.no_grad():
            loss = self.loss(self.model, self.guide, *args, **kwargs)
            loss = detach_provenance(getattr(loss, "loss", loss))
            losses = loss if isinstance(loss, tuple) else (loss,)
            return [torch.as_tensor(value) for value in losses]

    def _give_up(self, error: Exception) -> None:
        r"""Goes on eagerly after a refusal, if that is wanted."""
        if self.not_static == "raise":
            raise error
        self.eager = True
        warnings.warn(f"SVI goes on eagerly: {error}", stacklevel=4)


def held_by(optim: Any, parameters: Iterable[Tensor]) -> list[tuple[Place, Any]]:
    r"""Returns where an optimizer of Pyro keeps those of PyTorch, and how it clips."""
    if not isinstance(optim, PyroOptim):
        return []
    found: list[tuple[Place, Any]] = [
        (Place(getattr, optim, "optim_objs"), optim.optim_objs),
        (Place(getattr, optim, "grad_clip"), optim.grad_clip),
    ]
    for p in parameters:
        found.append((Place(getitem, optim.optim_objs, p), optim.optim_objs[p]))
        found.append((Place(getitem, optim.grad_clip, p), optim.grad_clip[p]))
    return found


def plain(loss: Any) -> Any:
    r"""Returns the plain ELBO of one that PyTorch's own tracer would compile."""
    kind = type(loss)
    if not isinstance(loss, ELBO) or not kind.__name__.startswith("Jit"):
        return loss
    base = next(k for k in kind.__mro__ if not k.__name__.startswith("Jit"))
    warnings.warn(
        f"{kind.__name__} is taken as {base.__name__}: the step is compiled as a whole.",
        stacklevel=4,
    )
    found: Any = object.__new__(base)
    found.__dict__.update(vars(loss))
    return found


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
