r"""The folder of a run: never lost for one that comes to nothing."""

import shutil
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from .storage import RunLocked, lock

OWN = ("config.toml", "data.json", "metrics.jsonl", "figures.json", "diagnosis.html", "pictures")
CHECKPOINTS = "checkpoints"


class RunFolder:
    r"""The folder that a training writes to.

    What belongs to a run that is to be replaced is moved aside, into ``.replaced`` in its folder,
    and deleted when the new one has its first checkpoint. If the new one fails before, it is put
    back. Files that no run writes stay where they are.

    Arguments:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.aside = path / ".replaced"
        self.replaces = False

    @property
    def holds_training(self) -> bool:
        r"""Whether there are checkpoints that a new training would mix with."""
        return any((self.path / CHECKPOINTS).glob("step-*"))

    def check_free(self, overwrite: bool) -> None:
        r"""Makes sure, before anything is computed, that a training may write here.

        Raises:
            ValueError: A run is there and is not to be replaced, or files that no run wrote.
            RunLocked: Another process writes to the run.
        """
        check_folder(self.path)
        self.recover()
        if self.holds_training and not overwrite:
            raise ValueError(
                f"Expected a folder without a run; got {self.path}, which holds one. Continue it "
                f"with --resume {self.path}, choose another --out, or replace it with --overwrite."
            )
        if (self.path / ".lock").exists():
            with lock(self.path):
                return
        foreign = [name for name in OWN if (self.path / name).exists()]
        if foreign and not self.holds_training:
            raise ValueError(
                f"Expected a folder for the run; got {self.path}, where {', '.join(foreign)} is "
                "of something else and would be overwritten. Choose another --out."
            )

    def recover(self) -> None:
        r"""Puts back what a training that was killed had moved aside before its first checkpoint,
        and deletes it where the new run has one."""
        if not self.aside.is_dir():
            return
        with lock(self.path):  # somebody may be about to write that checkpoint
            if not (self.aside / CHECKPOINTS).exists():  # it was killed while it moved files
                self._move_back(replace=False)
            elif self.holds_training:
                self._delete_aside()
                return
            else:
                self._move_back(replace=True)
        print(
            f"{self.path} is again the run that an interrupted training was to replace.",
            file=sys.stderr,
        )

    def open(self, stack: ExitStack, files: Mapping[str, str], overwrite: bool) -> None:
        r"""Makes the folder, locks it until `stack` is closed, and writes `files` into it."""
        self.path.mkdir(parents=True, exist_ok=True)
        stack.enter_context(lock(self.path))
        try:
            if overwrite and self.holds_training:
                self.replaces = True
                self.aside.mkdir()
                for name in (*OWN, CHECKPOINTS):  # checkpoints last: they tell that all is moved
                    if (self.path / name).exists():
                        (self.path / name).rename(self.aside / name)
            (self.path / "metrics.jsonl").unlink(missing_ok=True)
            self.write(files)
        except BaseException:
            self.failed()
            raise

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
            self._delete_aside()

    def failed(self) -> None:
        r"""Says that training ended before its first checkpoint: what was replaced comes back."""
        if self.replaces:
            self.replaces = False
            self._move_back(replace=(self.aside / CHECKPOINTS).exists())

    def _move_back(self, replace: bool) -> None:
        r"""Moves what is aside to its place; with `replace`, over files of the new run.

        Whenever it is killed, what is still aside is the old run's, and may be moved again.
        """
        for name in (*OWN, CHECKPOINTS):
            if (self.aside / name).exists():
                if replace:
                    _delete(self.path / name)
                if not (self.path / name).exists():
                    (self.aside / name).rename(self.path / name)
        shutil.rmtree(self.aside, ignore_errors=True)

    def _delete_aside(self) -> None:
        for name in (*OWN, CHECKPOINTS):  # checkpoints last: what is left is known for the old run
            _delete(self.aside / name)
        shutil.rmtree(self.aside, ignore_errors=True)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
