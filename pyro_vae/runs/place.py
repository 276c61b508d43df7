r"""The folder that a training writes to; a run is not lost to a new one that fails."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..writing import write_text
from . import storage

CONFIG, DATA, METRICS, EVALUATIONS = "config.toml", "data.json", "metrics.jsonl", "figures.json"
CHECKPOINTS = "checkpoints"
OWN = (CONFIG, DATA, METRICS, EVALUATIONS, "diagnosis.html", "pictures")
EVERYTHING = (*OWN, CHECKPOINTS)  # checkpoints last: they mark that all is moved or deleted


class Place:
    r"""The folder of a run, free or in use.

    The files of a run that is being replaced are moved into ``.replaced`` in its folder, and
    deleted when the new run has its first checkpoint. If the new run fails before, they are
    restored. Files that no run writes are not touched.

    Arguments:
        path: The folder, which need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.aside = self.path / ".replaced"
        self.replaces = False

    @property
    def holds_training(self) -> bool:
        r"""Whether there are checkpoints of an earlier training."""
        return any((self.path / CHECKPOINTS).glob("step-*"))

    def check_free(self, overwrite: bool = False) -> None:
        r"""Checks, before anything is computed, that a training may write here.

        Raises:
            ValueError: There is a run that may not be replaced, or files that no run wrote.
            RunLocked: Another process writes to the run.
        """
        self._check_is_folder()
        self.recover()
        if self.holds_training and not overwrite:
            raise ValueError(
                f"Expected a folder without a run; got {self.path}, which holds one. Continue it "
                f"with --resume {self.path}, choose another --out, or replace it with --overwrite."
            )
        if (self.path / ".lock").exists():
            with storage.lock(self.path):
                return
        unknown = [name for name in OWN if (self.path / name).exists()]
        if unknown and not self.holds_training:
            raise ValueError(
                f"Expected a folder for the run; got {self.path}, where {', '.join(unknown)} "
                "would be overwritten, which no run wrote. Choose another --out."
            )

    @contextlib.contextmanager
    def held(self, *, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
        r"""Locks the folder for one training, which starts or continues in it.

        Raises:
            RunLocked: Another process writes to the run.
        """
        with storage.lock(self.path):
            try:
                if not resume:
                    self.path.mkdir(parents=True, exist_ok=True)  # locking may not create it
                    if overwrite and self.holds_training:
                        self._move_aside()
                    (self.path / METRICS).unlink(missing_ok=True)
                yield
            finally:
                if self.replaces:  # there is no checkpoint yet
                    self.replaces = False
                    self._move_back()

    def write(self, files: Mapping[str, str]) -> None:
        r"""Writes texts into the folder, each atomically."""
        for name, text in files.items():
            write_text(self.path / name, text)

    def save(self, step: int, tensors: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        r"""Writes a checkpoint; after the first one, deletes the run that was replaced."""
        storage.save(self.path, step, tensors, state)
        if self.replaces:
            self.replaces = False
            self._delete_aside()

    def recover(self) -> None:
        r"""Restores the run that a killed training had moved aside before its first checkpoint, or
        deletes it if the new run has one."""
        if not self.aside.is_dir():
            return
        with storage.lock(self.path):  # another process may be about to write that checkpoint
            if (self.aside / CHECKPOINTS).exists() and self.holds_training:
                self._delete_aside()
                return
            self._move_back()
        print(
            f"{self.path}: restored the run that an interrupted training was replacing.",
            file=sys.stderr,
        )

    def _move_aside(self) -> None:
        self.replaces = True
        self.aside.mkdir()
        for name in EVERYTHING:
            if (self.path / name).exists():
                (self.path / name).rename(self.aside / name)

    def _move_back(self) -> None:
        r"""Restores the files that were moved aside; over files of the new run, if all were moved.

        If it is killed, the remaining files belong to the old run, and it can be repeated.
        """
        over = (self.aside / CHECKPOINTS).exists()
        for name in EVERYTHING:
            if (self.aside / name).exists():
                if over:
                    _delete(self.path / name)
                if not (self.path / name).exists():
                    (self.aside / name).rename(self.path / name)
        shutil.rmtree(self.aside, ignore_errors=True)

    def _delete_aside(self) -> None:
        for name in EVERYTHING:
            _delete(self.aside / name)
        shutil.rmtree(self.aside, ignore_errors=True)

    def _check_is_folder(self) -> None:
        r"""Refuses a path that is a file, or below a file."""
        found = next(place for place in (self.path, *self.path.parents) if place.exists())
        if not found.is_dir():
            raise ValueError(
                f"Expected a folder for the run; got {found}, a file. Choose another --out."
            )


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
