r"""Evaluations that call one function very often, compiled where that pays."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from ..programs import device_of

ELEMENTS_TO_COMPILE = 2e9
r"""How many numbers p(x | z) must have, over all calls, before a compiler is done sooner."""


class Staged:
    r"""Creates a function of tensors that is recorded and compiled at its first call.

    Calls with other shapes, and programs that are not static, run as they are. Random draws and
    their order are the same compiled or not.

    Arguments:
        function: Returns tensors.
        vae: Whose parameters it reads.
        elements: How many numbers :math:`p(x \mid z)` will have over all calls.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor]], vae: nn.Module, elements: float
    ) -> None:
        self.function = function
        self.cache: Any = None
        self.key: Any = None
        if elements >= ELEMENTS_TO_COMPILE:
            from ..compile.cache import Cache

            self.cache = Cache(
                lambda args, kwargs: function(*args, **kwargs), device_of(vae), modules=[vae]
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Sequence[Tensor]:
        if self.cache is None:
            return self.function(*args, **kwargs)
        from ..compile import NotStatic
        from ..compile.signature import Call

        call = Call.of(args, kwargs)
        self.key = self.key or call.key
        if call.key != self.key:
            return self.function(*args, **kwargs)
        try:
            compiled = self.cache.get(call)
        except NotStatic:
            self.cache = None
            return self.function(*args, **kwargs)
        return compiled.function(*compiled.inputs(call.inputs))
