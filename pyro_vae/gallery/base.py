r"""What relatives of the VAE have in common: a loss, and any of sampler, density and encoder.

None of them need have a prior :math:`p(z)`. What a relative has is found by calling it
(:func:`abilities`); what it lacks, it refuses in a sentence that says why.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..distributions import describe_support
from ..registration import entry_of, kind_of
from ..remembered import Remembers

Density = Literal["exact", "lower bound", "stochastic upper bound", "estimate", "none"]
r"""What ``log_prob`` returns: the log density, no more than it in the mean over draws, no less in
that mean, another estimate of it, or nothing."""

Update = Callable[[Tensor, Iterable[nn.Parameter]], Tensor]
r"""What training gives to :meth:`Relative.step`: one step of the optimizer down the gradient of a
scalar loss, for these parameters alone; returns the norm of the gradient."""


class Lacking(ValueError):
    r"""A relative has no such thing; the sentence says why."""


class Relative(Remembers, nn.Module, ABC):
    r"""Abstract relative of the VAE. Define ``loss``, and of the rest what there is.

    A recipe passes options by name. It supplies the arguments that are called `x_shape`, `x_scale`
    (what a network divides `x` by so that it is about 0..1) and `x_mean` (the mean of the training
    data, of shape `x_shape`, or None before a checkpoint is loaded).

    Arguments:
        x_shape: The shape of one datum.

    Attributes:
        formula: The model in plain characters, for lists and help.
        advice: When to use it, in one line.
        support: Where the elements of `x` lie.
        density: What ``log_prob`` returns.
        lacks: Why it has no ``sample``, ``log_prob``, ``reconstruct`` or ``encode``, by name: the
            end of the sentence "An RBM has no ..., ".
        measures: The names of what ``step`` returns, in its order.
        latents: The names of Pyro's latent sites, of which a relative has none.
    """

    formula: str = ""
    advice: str = ""
    support: Constraint = constraints.real
    support_name: str = ""
    density: Density = "none"
    lacks: ClassVar[Mapping[str, str]] = {}
    measures: tuple[str, ...] = ("loss",)
    latents: ClassVar[tuple[str, ...]] = ()

    def __init__(self, x_shape: Sequence[int]) -> None:
        super().__init__()
        self.x_shape = tuple(x_shape)

    @classmethod
    def entry(cls) -> dict[str, Any] | None:
        r"""What the class says of itself to recipes (:func:`pyro_vae.registration.entry_of`)."""
        return entry_of(cls)

    # --- Training -------------------------------------------------------------------------------

    @abstractmethod
    def loss(self, x: Tensor) -> Tensor:
        r"""
        Arguments:
            x: The data, of shape `(B, *x_shape)`.

        Returns:
            What training minimizes, of shape `(B,)`; in nats if there is a density.
        """

    def step(self, x: Tensor, update: Update) -> list[Tensor]:
        r"""One step of training. A relative with several losses, such as a GAN, brings its own.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            update: Steps down the gradient of a loss; it may be called several times.

        Returns:
            The values called `measures`, and the norm of a gradient last, each of shape `()`.
        """
        loss = self.loss(x).mean()
        norm = update(loss, self.parameters())
        return [loss.detach(), norm]

    def score(self, x: Tensor) -> Tensor:
        r"""Returns what stops training early, of shape `(B,)`: the higher, the better. It is
        ``log_prob``, or without a density minus the loss."""
        return -self.loss(x) if self.density == "none" else self.log_prob(x)

    # --- What a relative may have ---------------------------------------------------------------

    def sample(self, num_samples: int) -> Tensor:
        r"""Returns new data, of shape `(num_samples, *x_shape)`, from torch's own generator."""
        raise self._lacking("sample")

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\log p(x)` in nats, of shape `(B,)`; `density` says of what kind."""
        raise self._lacking("log_prob")

    def log_probs(self, chunks: Iterable[Tensor]) -> tuple[Tensor, float]:
        r"""Returns :math:`\log p(x)` of data in chunks, of shape `(N,)`, and the standard error
        that all of them share: zero, if no normalizer is estimated."""
        return torch.cat([self.log_prob(x) for x in chunks]), 0.0

    def reconstruct(self, x: Tensor) -> Tensor:
        r"""Returns `x` as its codes have it, means where these are known, of the shape of `x`."""
        raise self._lacking("reconstruct")

    def encode(self, x: Tensor) -> Tensor:
        r"""Returns the code of each datum, or its mean, of shape `(B, num_features)`."""
        raise self._lacking("encode")

    def _lacking(self, method: str) -> Lacking:
        words = {
            "sample": "sampler",
            "log_prob": "log p(x)",
            "reconstruct": "reconstruction",
            "encode": "encoder",
        }
        name = kind_of(type(self))
        article = "An" if name[0] in "aeiou" or name == "rbm" else "A"
        why = self.lacks.get(method, "it defines none")
        return Lacking(f"{article} {name} has no {words[method]}: {why}.")


def abilities(model: Relative, x: Tensor) -> dict[str, str]:
    r"""Says what a model can do, by calling it.

    Arguments:
        model: The model.
        x: Some data, of shape `(B, *x_shape)`.

    Returns:
        By ``"sample"``, ``"log_prob"``, ``"reconstruct"``, ``"encode"``: ``"yes"``, for a density
        its kind, or the sentence of :class:`Lacking`.

    Raises:
        AssertionError: What is returned is not what the method promises.
    """
    found = {}
    calls: dict[str, Callable[[], Tensor]] = {
        "sample": lambda: model.sample(len(x)),
        "log_prob": lambda: model.log_prob(x),
        "reconstruct": lambda: model.reconstruct(x),
        "encode": lambda: model.encode(x),
    }
    for name, call in calls.items():
        try:
            with torch.no_grad():
                value = call()
        except Lacking as lacking:
            found[name] = str(lacking)
            continue
        _check(name, value, x, model.support)
        found[name] = model.density if name == "log_prob" else "yes"
    return found


def _check(name: str, value: Tensor, x: Tensor, support: Constraint) -> None:
    r"""Checks shape and values of what a method of a relative returned."""
    shapes = {"sample": x.shape, "log_prob": x.shape[:1], "reconstruct": x.shape}
    expected = shapes.get(name, (len(x), prod(value.shape[1:])))
    assert value.shape == expected, f"{name} returned {tuple(value.shape)}, not {expected}"
    assert bool(value.isfinite().all()), f"{name} is not finite"
    if name == "sample":
        where = describe_support(support)
        assert bool(support.check(value).all()), f"samples lie outside {where}"
