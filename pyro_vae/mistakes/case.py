r"""A program and its data, with what happens when they meet."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from pyro import poutine
from torch import Tensor

from ..objectives.base import sample_sites


class Case:
    r"""A program and its data, with what happens when they meet."""

    def __init__(self, vae: Any, x: Any, known: dict[str, Any]) -> None:
        self.vae, self.x, self.known = vae, x, known

    @cached_property
    def q(self) -> Any:
        r"""The trace of the guide, or the exception that it ended with."""
        return self._run(poutine.trace(self.vae.guide))

    @cached_property
    def p(self) -> Any:
        r"""The trace of the model at the guide's values, or its exception."""
        return self._run(poutine.trace(poutine.replay(self.vae.model, trace=self.q)))

    @cached_property
    def alone(self) -> Any:
        r"""The trace of the model at values of its own, or its exception."""
        return self._run(poutine.trace(self.vae.model))

    def _run(self, program: Any) -> Any:
        try:
            return program.get_trace(self.x, **self.known)
        except Exception as error:
            return error

    @property
    def failed(self) -> Exception | None:
        r"""How guide or model ended, if by an exception."""
        return next((t for t in (self.q, self.p) if isinstance(t, Exception)), None)

    @property
    def where(self) -> str:
        return "guide" if isinstance(self.q, Exception) else "model"

    def sites(self) -> Iterator[tuple[str, str, Any]]:
        r"""Program, name and site, the guide's first."""
        for program, trace in (("guide", self.q), ("model", self.p)):
            for name, site in sample_sites(trace).items():
                yield program, name, site

    @cached_property
    def parameters(self) -> list[Tensor]:
        r"""The parameters that the programs show."""
        nodes = [n for t in (self.q, self.p) for n in t.nodes.values()]
        return [n["value"] for n in nodes if n["type"] == "param"]
