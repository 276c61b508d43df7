r"""Random draws, while a program runs that is looked at."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils._pytree import tree_leaves, tree_map

from .refusals import NotStatic, refusal


class Draws:
    r"""Runs the random operations of a program, and tells when it sets a generator's state.

    A graph draws in one order and never turns back. A program that puts a generator back to where
    it was before an earlier draw, as :func:`torch.utils.checkpoint.checkpoint` does to compute
    again, gets the values of that draw again; any other state that it sets is refused.

    Arguments:
        copied: Whether draws are copied for such a program.

    Attributes:
        repeated: Whether the program has turned back.

    Raises:
        NotStatic: The program sets a generator to a state of its own.
    """

    def __init__(self, copied: bool = False) -> None:
        self.copied, self.repeated = copied, False
        self.before: list[tuple[Generator, Tensor]] = []
        generators = [torch.default_generator]
        if torch.cuda.is_initialized():
            generators += torch.cuda.default_generators
        self.expected = {g: _bytes(g.get_state()) for g in generators}
        self.drawn: dict[Hashable, Any] = {}

    def __call__(self, func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        generator = generator_of(args, kwargs)
        state = generator.get_state()
        if generator not in self.expected:  # the program's own
            self.before.append((generator, state))
        now = _bytes(state)
        sizes = [(t.shape, t.stride(), t.dtype) for t in _tensors((args, kwargs))]
        key = (generator, now, func, str(sizes))
        if self.expected.get(generator, now) != now:
            self.repeated = True
            if key not in self.drawn:
                raise NotStatic(refusal("sets the state of a random generator"))
            return self.again(func, args, key)
        out = func(*args, **kwargs)
        after = generator.get_state()
        self.drawn[key] = _copied(out) if self.copied else out, after
        self.expected[generator] = _bytes(after)
        return out

    def again(self, func: Any, args: tuple, key: Hashable) -> Any:
        r"""Returns the values of an earlier draw, and sets the generator to after it."""
        out, after = self.drawn[key]
        generator: Generator = key[0]  # type: ignore[index]
        generator.set_state(after)
        if func._schema.is_mutable:
            return args[0].copy_(out)
        return _copied(out)

    def check_end(self) -> None:
        r"""Refuses a program that leaves a generator elsewhere than after its last draw."""
        for generator, state in self.expected.items():
            if _bytes(generator.get_state()) != state:
                raise NotStatic(refusal("sets the state of a random generator"))

    def restore(self) -> None:
        r"""Puts the generators back that the program brought itself."""
        for generator, state in self.before:
            generator.set_state(state)


def generator_of(args: tuple, kwargs: dict[str, Any]) -> Generator:
    r"""Returns the generator of a random operation."""
    for leaf in tree_leaves((args, kwargs)):
        if isinstance(leaf, Generator):
            return leaf
    tensors = _tensors((args, kwargs))
    return default_of(
        tensors[0].device if tensors else torch.device(kwargs.get("device") or "cpu")
    )


def default_of(device: torch.device) -> Generator:
    r"""Returns the generator of a device that operations draw from by default."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.default_generator


def _copied(tree: Any) -> Any:
    return tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, tree)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(state: Tensor) -> bytes:
    return state.numpy().tobytes()
