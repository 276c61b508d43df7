r"""Metrics and position of a training, and callbacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass
class History:
    r"""The metrics of a training: the rows of ``metrics.jsonl``.

    One row per epoch has `step`, `epoch`, `loss`, `reconstruction`, `kl` (nats per datum, every
    datum weighing the same), `kl_weight`, `grad_norm`, `lr`, `active_units` and `seconds`; with
    several latent sites also `kl_z1`, `active_z1` and the like, the KL term of each site in nats
    per datum and the number of its active units, both on up to 1000 training data; one
    row per validation has `step`, `epoch`, `elbo` and `elbo_se`; a row with a `warning` says, for
    example, that latent units are about to collapse.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    def __getitem__(self, name: str) -> list[Any]:
        r"""Returns a column, from the rows that have it."""
        return [row[name] for row in self.rows if name in row]


@dataclass
class Position:
    r"""The position of a training; with parameters, optimizer and random state it is complete."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    bad_steps: int = 0
    best_elbo: float | None = None
    epochs_since_best: int = 0
    finished: bool = False
    metrics_bytes: int = 0
    temperatures: list[float] = field(default_factory=list)


class Callback(Protocol):
    r"""Follows the training of a model; subclasses override what they need.

    Random numbers that a callback draws, and a model that it puts into evaluation mode, do not
    affect training. An exception ends training with its own traceback; if training writes to a
    folder, a checkpoint is saved first, from which ``resume=True`` continues.

    Example:
        >>> class StopBelow(Callback):
        ...     def __init__(self, loss):
        ...         self.loss = loss
        ...     def on_start(self, run):
        ...         self.run = run
        ...     def on_row(self, row):
        ...         if row["loss"] < self.loss:
        ...             self.run.stop()
    """

    def on_start(self, run: Any) -> None:
        r"""Called before the first step, also after resuming, with the
        :class:`pyro_vae.train.run.Run`: its model is `run.vae`, and `run.stop()` ends training
        after the epoch."""

    def on_row(self, row: Mapping[str, Any]) -> None:
        r"""Called with the metrics of an epoch: those of :class:`History`, the `elbo` of
        validation data and a `warning`, as one row."""

    def on_end(self, history: History) -> None:
        r"""Called with all metrics when the model has its final parameters."""
