r"""Parameters of which every element of `x` has its own."""

from collections.abc import Sequence
from typing import Any


def shape_of(decoder: Any, x_shape: Sequence[int] | None, what: str) -> tuple[int, ...]:
    r"""Returns the shape of one datum: as given, or as the decoder says.

    Arguments:
        decoder: The decoder, with one output per element.
        x_shape: The shape, where it is given.
        what: The parameter, for the message.

    Raises:
        ValueError: Neither says it.
    """
    found = getattr(decoder, "out_shape", None) if x_shape is None else x_shape
    if found is None:
        raise ValueError(
            f"Expected x_shape with {what} per column, as the decoder does not say the shape of "
            "its output; got none. Pass x_shape=."
        )
    return tuple(found)
