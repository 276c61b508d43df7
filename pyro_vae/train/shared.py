r"""A gradient step that ranks take together, each on its part of the batch.

In a step, ranks tell each other one vector, whose sum is the same at each of them:

    gradients | loss, reconstruction, KL term, each times the share of the batch | stop | failed

What follows, the norm, clipping, the update, the end of training, is a function of the sum, so
that no rank can part from the others. A rank that fails before the sum takes part with zeros, and
says that it failed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import ranks
from .steps import Eager, Fused, Loss

CHANGED = (
    "Expected a program that all ranks record alike; got one that can no longer be recorded. Set "
    'train.compile to "no".'
)
TERMS = 3  # loss, reconstruction, KL term
Forms = Sequence[tuple[torch.Size, torch.dtype]]


class SharedLoss(Loss):
    r"""As :class:`Loss`, of all ranks: terms and gradients are those of the whole batch.

    Attributes:
        parameters: Whose gradients are summed.
        forms: Shapes and dtypes of the sums that the objective makes before that one.
        part: Which rows of the batch are this rank's.
        error: Why this rank took part with zeros.
    """

    parameters: Sequence[Tensor] = ()
    forms: Forms = ()
    part: ranks.Part | None = None
    error: Exception | None = None

    def __call__(
        self,
        x: Tensor | None,
        rows: Tensor,
        weight: float,
        capacity: float | None,
        stop: Any = None,
    ) -> list[Tensor]:
        r"""Returns the terms, whether a rank asks to stop, and how many ranks failed."""
        part = self.part
        if stop is None or part is None:  # before training: of these rows, and nobody is told
            with ranks.silently(), ranks.within(ranks.Part(0, len(rows), len(rows))) as sums:
                terms = super().__call__(x, rows, weight, capacity)
                self.forms = [*sums]
            return terms
        with ranks.within(part) as sums:
            try:
                terms = super().__call__(x, rows, weight, capacity)
            except Exception as error:
                if ranks.is_silent() or isinstance(error, ranks.RankFailed):
                    raise
                return self.fail(error, sums)
        with torch.no_grad():
            return self.exchange(terms, part.share, stop)

    def exchange(self, terms: Sequence[Tensor], share: float, stop: Any) -> list[Tensor]:
        r"""Sums what ranks have found; the gradients then are those of the whole batch."""
        zeros = self.parameters[0].new_zeros
        gradients = [zeros(p.shape) if p.grad is None else p.grad for p in self.parameters]
        found = torch.cat([g.reshape(-1) for g in (*gradients, *terms)]) * share
        told = ranks.total(torch.cat([found, torch.stack([zeros(()) + stop, zeros(())])]))
        sizes = [p.numel() for p in self.parameters]
        *parts, figures = told.split([*sizes, TERMS + 2])
        for p, part in zip(self.parameters, parts):
            if p.grad is not None:
                p.grad = part.view_as(p).to(p.dtype)
        return self.figures(figures)

    def figures(self, told: Tensor) -> list[Tensor]:
        r"""The last entries of the vector; without a loss, so that nothing moves, if a rank
        failed."""
        loss, *rest, failed = told.unbind()
        return [torch.where(failed > 0, torch.nan, loss), *rest, failed]

    def fail(self, error: Exception, done: Forms = ()) -> list[Tensor]:
        r"""Takes part in what others sum, with zeros, and says so."""
        self.error = error
        like = self.parameters[0]
        for shape, dtype in self.forms[len(done) :]:
            ranks.total(torch.zeros(shape, dtype=dtype, device=like.device))
        told = like.new_zeros(sum(p.numel() for p in self.parameters) + TERMS + 2)
        told[-1] = 1.0
        return self.figures(ranks.total(told)[-TERMS - 2 :])


class Together:
    r"""Takes the step of a batch with all ranks, each on its part of the rows.

    Whether it is compiled is agreed on at the first compiled step. Where data are read from a
    file, each batch is sorted first, so that a rank reads from about its own part of it.

    Arguments:
        step: The step of one process.
        loss: The loss, of all ranks.
        stop: Signals that this process has received.

    Attributes:
        stopped: Whether a rank asked, in the last step, to stop after it.
    """

    def __init__(self, step: Eager | Fused, loss: SharedLoss, stop: Sequence[int]) -> None:
        self.step, self.loss, self.stop = step, loss, stop
        self.ranks = ranks.here()
        self.stopped, self.agreed = False, False
        self.size = 0
        self.eager = step.eager if isinstance(step, Fused) else step
        loss.parameters = self.eager.parameters
        if isinstance(step, Fused):
            self.size = step.size
            step.size = self.ranks.part(step.size).rows

    @property
    def compiled(self) -> bool:
        return self.step.compiled

    @property
    def first(self) -> int:
        return self.step.first

    def __call__(self, rows: Tensor, weight: float, capacity: float | None) -> Tensor:
        self.loss.error = None
        act = self.prepare(rows, weight, capacity)
        with ranks.spoken():
            found = act()
        *terms, stop, failed, norm = found
        if failed > 0:
            self.ranks.agree(self.loss.error)
        self.stopped = bool(stop > 0)
        return torch.stack([*terms, norm])

    def prepare(
        self, rows: Tensor, weight: float, capacity: float | None, *more: float
    ) -> Callable[[], Tensor]:
        r"""Prepares the step on this rank's part."""
        part = self.ranks.part(len(rows))
        rows = rows if isinstance(self.loss.data.stored, Tensor) else rows.sort().values
        mine = rows[part.start : part.start + max(part.rows, 1)] if part.rows else rows[:1]
        self.loss.part = part
        given = (mine, weight, capacity, float(bool(self.stop)))
        step: Eager | Fused = self.step
        decides = False
        if isinstance(step, Fused):
            decides = not self.agreed and len(rows) == self.size and step.taken >= step.first
            if len(rows) != self.size:
                step.taken += 1
                step = self.eager
        act = self.attempt(step, given)
        if decides:
            self.agreed = True
            self.ranks.wait()  # compilers may be slow at one rank
            if not all(self.ranks.gather(self.compiled)):
                self.step.compiled = False
                act = self.attempt(self.eager, given)
        return act

    def attempt(self, step: Eager | Fused, given: tuple) -> Callable[[], Tensor]:
        r"""Prepares a step; where that fails, what it returns tells the others."""
        compiled = step.compiled
        try:
            act = step.prepare(*given)
            if self.agreed and compiled and not step.compiled:
                raise ValueError(CHANGED)
        except Exception as error:
            twice = compiled and isinstance(step, Fused) and step.compares()
            return partial(self.silent, error, twice)
        return act

    def silent(self, error: Exception, twice: bool) -> Tensor:
        r"""The figures of a step in which this rank takes part with zeros, twice where the others
        compare."""
        if twice:
            self.loss.fail(error)
        figures = self.loss.fail(error)
        return torch.stack([*figures, figures[0]])
