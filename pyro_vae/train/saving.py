r"""What a training writes: metrics and checkpoints, also while the disk is full."""

import time
from typing import TYPE_CHECKING

from . import resume
from .progress import say

if TYPE_CHECKING:
    from .run import Run

SECONDS_BETWEEN = 1.0  # of checkpoints after epochs; affects only what a crash may lose


class Saving:
    r"""Writes the metrics and checkpoints of a run, if it has a folder.

    Where the disk is full or gone, training goes on: rows of metrics wait until there is space,
    and the next checkpoint has all that the one that failed would have had. Only the last one must
    succeed.

    Arguments:
        run: The training.
    """

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.rows = 0  # of the history that are in the file
        self.fails = False
        self.time = time.monotonic()

    def is_due(self) -> bool:
        r"""Whether it is time for a checkpoint after an epoch."""
        return time.monotonic() - self.time > SECONDS_BETWEEN

    def write_metrics(self) -> None:
        r"""Writes the rows of the history that are not in metrics.jsonl yet, if it can."""
        try:
            self._append()
        except OSError as error:
            self._warn(error)

    def save(self, last: bool) -> None:
        r"""Writes a checkpoint.

        Arguments:
            last: Whether nothing is trained after it.

        Raises:
            CheckpointError: The last one could not be written.
        """
        if self.run.folder is None:
            return
        self.time = time.monotonic()
        try:
            self.write_metrics()
            resume.save(self.run)
            if last:
                self.run.ranks.by_first(self._append)
        except OSError as error:
            if last:
                raise
            self._warn(error)
            return
        if self.fails:
            self.fails = False
            say("Checkpoints are written again.")

    def _append(self) -> None:
        folder, at, rows = self.run.folder, self.run.position, self.run.history.rows
        if folder is None or self.run.ranks.rank > 0:
            return
        if folder.metrics_size() < at.metrics_bytes:  # somebody deleted it
            self.rows, at.metrics_bytes = 0, 0
        if self.rows < len(rows):
            at.metrics_bytes = folder.append(*rows[self.rows :], size=at.metrics_bytes)
            self.rows = len(rows)

    def _warn(self, error: OSError) -> None:
        if self.fails or self.run.ranks.rank > 0:
            return
        self.fails = True
        text = f"Training goes on and will try again. {error}"
        self.run.log(warning=text)
        if not self.run.display.enabled:
            say(text)
