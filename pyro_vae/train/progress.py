r"""Progress display and interruption."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Self

from tqdm import tqdm

LINES = 20  # number of progress lines without a terminal, at least
SECONDS = 300  # after which there is one in any case


class Progress:
    r"""A progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, enabled: bool, epochs: int, steps_per_epoch: int) -> None:
        self.epochs, self.enabled = epochs, enabled
        self.stop: list[int] = []  # signals to stop for
        self.every = max(1, epochs // LINES)
        self.steps, self.bar = epochs * steps_per_epoch, None
        self.said_of_epoch = ""
        self.last, self.due = "", True  # what was said of validation data; whether lines are due
        self.began = self.said = time.monotonic()
        self.first: int | None = None  # the epoch from which on this process trains

    def __enter__(self) -> Self:
        self.began = self.said = time.monotonic()
        if self.enabled and sys.stderr is not None and sys.stderr.isatty():
            self.bar = tqdm(total=self.steps, unit="step", dynamic_ncols=True)
            self.line = tqdm(total=0, bar_format="{desc}", position=1, dynamic_ncols=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.line.close()
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
        of_epoch = measured_in(row) is None
        if of_epoch:
            self.due = self._is_due(row["epoch"])
            text = f"epoch {row['epoch']}/{self.epochs}  {told(row)}{self._left(row['epoch'])}"
        else:
            text = self.last = validation(row)
        if self.bar is not None:
            self.said_of_epoch = text if of_epoch else self.said_of_epoch
            self.line.set_description_str("  ".join(filter(None, (self.said_of_epoch, self.last))))
        elif self.enabled and self.due:
            print(text, flush=True)

    def _is_due(self, epoch: int) -> bool:
        r"""Whether this epoch has a line: the first, each twentieth of all, or after minutes."""
        self.first = epoch - 1 if self.first is None else self.first
        now = time.monotonic()
        due = epoch % self.every == 0 or epoch in (self.first + 1, self.epochs)
        due = due or now - self.said > SECONDS
        self.said = now if due else self.said
        return due

    def _left(self, epoch: int) -> str:
        r"""The time of an epoch, and of those to come, by those of this process."""
        if self.first is None or epoch >= self.epochs:
            return ""
        each = (time.monotonic() - self.began) / (epoch - self.first)
        return f"  {duration(each)} an epoch, {duration(each * (self.epochs - epoch))} left"


def told(row: Mapping[str, Any]) -> str:
    r"""What an epoch's row says: loss, KL term and active units, also those of each latent site.

    Example:
        >>> told({"loss": 91.234, "kl": 9.1, "active_units": 7, "kl_z1": 9.1, "active_z1": 7})
        'loss 91.23  kl 9.10 (z1 9.10)  nats per datum  7 active (z1 7)'
    """
    if "loss" not in row:
        return "no step was finite"
    rates = {n[3:]: v for n, v in row.items() if n.startswith("kl_") and n != "kl_weight"}
    active = {n[7:]: v for n, v in row.items() if n.startswith("active_") and n != "active_units"}
    rate, units = (
        f" ({', '.join(f'{n} {v:{form}}' for n, v in parts.items())})" if parts else ""
        for parts, form in ((rates, ".2f"), (active, "d"))
    )
    kl = f"  kl {row['kl']:.2f}{rate}" if "kl" in row else ""
    alive = f"  {row['active_units']} active{units}" if "active_units" in row else ""
    unit = "  nats per datum" if kl else ""
    return f"loss {row['loss']:.2f}{kl}{unit}{alive}"


def measured_in(row: Mapping[str, Any]) -> str | None:
    r"""The name of what was measured of validation data, if the row is of these."""
    return next((name for name in ("elbo", "score") if name in row), None)


def validation(row: Mapping[str, Any]) -> str:
    r"""What a row of validation data says.

    Example:
        >>> validation({"elbo": -91.234, "elbo_se": 0.257})
        'validation ELBO -91.23 +- 0.26 nats'
    """
    name = measured_in(row) or ""
    se = row[f"{name}_se"]
    error = f" +- {se:.2f}" if se is not None and isfinite(se) else ""
    what, unit = ("ELBO", " nats") if name == "elbo" else (name, "")
    return f"validation {what} {row[name]:.2f}{error}{unit}"


def duration(seconds: float) -> str:
    r"""Seconds in the unit that suits them.

    Example:
        >>> [duration(s) for s in (0.034, 4.2, 80, 5400, 200_000)]
        ['0.03 s', '4.2 s', '80 s', '1.5 h', '2.3 days']
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    for size, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


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
