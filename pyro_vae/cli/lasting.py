r"""Outputs that may fill up: what is printed is lost then, what works goes on."""

import contextlib
import os
from collections.abc import Iterator
from io import TextIOWrapper
from typing import Any


class Lasting:
    r"""An output that goes on in silence once its disk is full, and prints any name.

    If the reader of a pipe has exited, that is an error.

    Attributes:
        lost: Why something was not written, if so.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.lost = stream, ""
        if isinstance(stream, TextIOWrapper):  # names of files may have no form in its encoding
            with self._going_on():
                stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._going_on():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._going_on():
            self.stream.flush()

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = error.strerror or str(error)
            mute(self.stream)


def mute(stream: Any) -> None:
    r"""Lets what is written from now on go nowhere, also what is in the buffer."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
