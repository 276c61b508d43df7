r"""The folder of a run: never lost for one that comes to nothing."""

import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .storage import RunLocked, lock

MARKS = ("config.toml", "metrics.jsonl", "checkpoints")


class RunFolder:
    r"""The folder that a training writes to.

    A run that is to be replaced is moved aside, as ``.NAME.replaced`` beside it, and deleted when
    the new one has its first checkpoint. If the new one fails before, it is put back.

    Arguments:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve() if path.is_symlink() or not path.name else path
        self.aside = self.path.with_name(f".{self.path.name}.replaced")
        self.replaces = False

    @property
    def holds_training(self) -> bool:
        r"""Whether there are checkpoints that a new training would mix with."""
        return any((self.path / "checkpoints").glob("step-*"))

    @property
    def holds_run(self) -> bool:
        r"""Whether anything of a run is there."""
        return any((self.path / mark).exists() for mark in MARKS)

    def check_free(self, overwrite: bool) -> None:
        r"""Makes sure, before anything is computed, that a training may write here.

        Raises:
            ValueError: A run is there and is not to be replaced, or a file.
            RunLocked: Another process writes to the run.
        """
        check_folder(self.path)
        self.recover()
        if self.holds_training and not overwrite:
            raise ValueError(
                f"Expected a folder without a run; got {self.path}, which holds one. Continue it "
                f"with --resume {self.path}, choose another --out, or replace it with --overwrite."
            )
        if self.holds_run:
            with lock(self.path):
                pass

    def recover(self) -> None:
        r"""Puts back a run that was moved aside by a training that was killed before it had a
        checkpoint, and deletes one whose successor has some."""
        if not self.aside.is_dir():
            return
        if self.holds_training:
            shutil.rmtree(self.aside)
            return
        if self.holds_run:
            with lock(self.path):  # somebody may be about to write its first checkpoint
                pass
        self._put_back()
        print(
            f"{self.path} is again the run that an interrupted training was to replace.",
            file=sys.stderr,
        )

    def open(self, stack: ExitStack, files: Mapping[str, str], overwrite: bool) -> None:
        r"""Makes the folder, locks it until `stack` is closed, and writes `files` into it."""
        if overwrite and self.holds_run:
            stack.enter_context(lock(self.path))
            self.path.rename(self.aside)
            self.replaces = True
        self.path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(lock(self.path))
        (self.path / "metrics.jsonl").unlink(missing_ok=True)
        self.write(files)

    def write(self, files: Mapping[str, str]) -> None:
        r"""Writes texts into the folder, each whole."""
        for name, text in files.items():
            partial = self.path / f".{name}.partial"
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.path / name)

    def saved(self) -> None:
        r"""Says that a checkpoint is written: what was replaced can go."""
        if self.replaces:
            self.replaces = False
            shutil.rmtree(self.aside, ignore_errors=True)

    def failed(self) -> None:
        r"""Says that training ended before its first checkpoint: what was replaced comes back."""
        if self.replaces:
            self.replaces = False
            self._put_back()

    def _put_back(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.aside.rename(self.path)


def check_folder(path: Path) -> None:
    r"""Refuses a file where a folder is to be.

    Raises:
        ValueError: There is a file of this name, or in the place of a folder above it.
    """
    for place in (path, *path.parents):
        if place.exists():
            if not place.is_dir():
                raise ValueError(
                    f"Expected a folder for the run; got {place}, a file. Choose another --out."
                )
            return


__all__ = ["RunFolder", "RunLocked", "check_folder"]
