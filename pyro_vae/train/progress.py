r"""Progress display and interruption."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from tqdm import tqdm

LINES = 20  # number of progress lines without a terminal


class Progress:
    r"""A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, enabled: bool, epochs: int, steps_per_epoch: int) -> None:
        self.epochs, self.enabled = epochs, enabled
        self.stop: list[int] = []  # signals to stop for
        self.every = max(1, epochs // LINES)
        self.steps, self.bar = epochs * steps_per_epoch, None

    def __enter__(self) -> None:
        if self.enabled and sys.stderr.isatty():
            self.bar = tqdm(total=self.steps, unit="step")

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, step: int) -> None:
        if self.bar is not None:
            with self._output():
                self.bar.update(step - self.bar.n)

    def show(self, row: Mapping[str, Any]) -> None:
        r"""Shows a row of the history."""
        with self._output():
            self._show(row)

    @contextlib.contextmanager
    def _output(self) -> Iterator[None]:
        r"""Goes on in silence where output cannot be written: a terminal that is gone, a log on a
        disk that is full. If the reader has exited, training saves and stops."""
        try:
            yield
        except BrokenPipeError:
            self.enabled, self.bar = False, None
            self.stop.append(getattr(signal, "SIGPIPE", signal.SIGTERM))
        except OSError:
            self.enabled, self.bar = False, None

    def _show(self, row: Mapping[str, Any]) -> None:
        if "warning" in row:
            if self.enabled:
                tqdm.write(f"epoch {row['epoch']}: {row['warning']}", file=sys.stderr)
            return
        if measured := next((name for name in ("elbo", "score") if name in row), ""):
            se = row[f"{measured}_se"]
            error = f" +- {se:.2f}" if se is not None and isfinite(se) else ""
            what, unit = ("ELBO", " nats") if measured == "elbo" else (measured, "")
            text = f"validation {what} {row[measured]:.2f}{error}{unit}"
        else:
            terms = [f"{name} {row[name]:.2f}" for name in ("loss", "kl") if name in row]
            unit = " nats per datum" if "kl" in row else ""
            means = f"{'  '.join(terms)}{unit}" if terms else "no step was finite"
            text = f"epoch {row['epoch']}/{self.epochs}  {means}"
        if self.bar is not None:
            self.bar.set_postfix_str(text)
        elif self.enabled and (row["epoch"] % self.every == 0 or row["epoch"] == self.epochs):
            print(text, flush=True)


@contextlib.contextmanager
def stop_signals(received: list[int], enabled: bool = True) -> Iterator[None]:
    r"""Collects the first SIGINT, SIGTERM or SIGHUP instead of terminating; the second kills.

    SIGHUP stays ignored where it is, as under ``nohup``.
    """

    def handle(number: int, frame: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        say(f"\n{signal.Signals(number).name}: saving after this step.")

    if not enabled or threading.current_thread() is not threading.main_thread():
        yield
        return
    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)
    numbers = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(hangup) is not signal.SIG_IGN:
        numbers.add(hangup)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    r"""Prints a line for people, if there is still a terminal."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def leave(number: int) -> None:
    r"""Terminates as the signal would have, after everything is saved."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number == getattr(signal, "SIGPIPE", None):
        raise BrokenPipeError
    raise SystemExit(128 + number)
