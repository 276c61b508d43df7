r"""A program run on its data, step by step, for checks to look at."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO
from torch import Tensor

from ..programs import Sites, device_of, note_rows, sample_sites
from ..randomness import apart


class Run(NamedTuple):
    r"""A trace, as far as it came, and the exception that ended it, if one did."""

    trace: poutine.Trace
    error: Exception | None


class Case:
    r"""A program and its data, with what happens when they meet.

    Arguments:
        vae: A VAE, or what has a `model` and a `guide`.
        x: The data.
        known: Further inputs of both programs.
    """

    def __init__(self, vae: Any, x: Any, known: dict[str, Any]) -> None:
        self.vae, self.x, self.known = vae, x, known
        self.rows = note_rows()

    @cached_property
    def q(self) -> Run:
        r"""The guide's run."""
        return self._run(self.vae.guide)

    @cached_property
    def p(self) -> Run:
        r"""The model's run at the guide's values."""
        return self._run(poutine.replay(self.rows(self.vae.model), trace=self.q.trace))

    def _run(self, program: Callable) -> Run:
        error = None
        with poutine.trace() as capture:
            try:
                program(self.x, **self.known)
            except Exception as raised:
                error = raised
        return Run(capture.trace, error)

    @cached_property
    def failure(self) -> Exception | None:
        r"""How a step ends under Pyro's own checks: by an exception, a loss that is not finite,
        or well."""
        if self.q.error or self.p.error:
            return self.q.error or self.p.error
        strict = not getattr(getattr(self.vae, "likelihood", None), "missing", False)
        with warnings.catch_warnings(), pyro.validation_enabled(strict):
            warnings.simplefilter("ignore")
            try:
                loss = Trace_ELBO().loss(self.vae.model, self.vae.guide, self.x, **self.known)
            except Exception as error:
                return error
        return None if isfinite(loss) else ArithmeticError(f"the loss is {loss}")

    @property
    def where(self) -> str:
        r"""The program that an exception ended."""
        return "guide" if self.q.error else "model"

    @cached_property
    def guided(self) -> Sites:
        r"""The guide's sites that sample, by name."""
        return {name: site for name, site in sample_sites(self.q.trace).items() if samples(site)}

    @cached_property
    def modelled(self) -> Sites:
        r"""The model's sites that sample, by name."""
        return {name: site for name, site in sample_sites(self.p.trace).items() if samples(site)}

    def sites(self) -> Iterator[tuple[str, str, Any]]:
        r"""Program, name and site, the guide's first."""
        for program, sites in (("guide", self.guided), ("model", self.modelled)):
            for name, site in sites.items():
                yield program, name, site

    def latents(self) -> Iterator[tuple[str, Any, Any]]:
        r"""The name of each latent variable with its site in the guide and in the model."""
        for name, site in self.guided.items():
            other = self.modelled.get(name)
            if other is not None and not other["is_observed"]:
                yield name, site, other

    @cached_property
    def parameters(self) -> list[Tensor]:
        r"""The tensors behind the parameters that the programs show, each once."""
        nodes = [n for run in (self.q, self.p) for n in run.trace.nodes.values()]
        values = [n["value"] for n in nodes if n["type"] == "param"]
        behind = [v.unconstrained() if hasattr(v, "unconstrained") else v for v in values]
        return list({id(tensor): tensor for tensor in behind}.values())

    @cached_property
    def leaves(self) -> list[Tensor]:
        r"""The tensors with gradients that the densities depend on, shown or not."""
        densities = [site["fn"].log_prob(site["value"]) for _, _, site in self.sites()]
        todo = [density.grad_fn for density in densities if isinstance(density, Tensor)]
        seen, found = set(), []
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if hasattr(node, "variable"):
                found.append(node.variable)
            todo += [before for before, _ in node.next_functions]
        return found


def samples(site: Any) -> bool:
    r"""Whether a site is more than a note (:func:`pyro.deterministic`, :func:`pyro.factor`)."""
    return not site["infer"].get("_deterministic") and not isinstance(site["fn"], dist.Unit)


@contextmanager
def untouched(program: Any, seed: int) -> Iterator[None]:
    r"""Runs programs with gradients, without Pyro's checks, and restores all that they change."""
    from ..compile.externals import Externals

    store, watch = pyro.get_param_store(), Externals()
    with (
        apart(device_of(program), seed),
        torch.enable_grad(),
        pyro.validation_enabled(False),
        store.scope(store.get_state()),
    ):
        try:
            with watch:
                yield
        finally:
            watch.restore()
