r"""Files that exist under their names once they are complete, whatever stops the writer."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    r"""Yields a name to write under; the file takes the place of `path` when it is complete.

    Whatever stops the writer, `path` is the earlier file or the new one, never a part of it. A
    writer that was killed leaves a hidden file, which the next writer of `path` deletes.

    Arguments:
        path: The file. The name to write under is in the same folder and has the same suffix.

    Raises:
        OSError: The file could not be written. An earlier one is intact.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with replacing(Path(folder) / "a.csv") as partial:
        ...         _ = partial.write_text("1,2")
        ...     (Path(folder) / "a.csv").read_text()
        '1,2'
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        _delete_leftovers(path)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        failure = OSError(
            f"Expected to write {path}; got: {reason}. Free some space, or choose another folder."
        )
        failure.errno = error.errno
        raise failure from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    r"""Writes a text, which takes the place of an earlier file when it is complete.

    Raises:
        OSError: It could not be written. An earlier file is intact.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def sync_folder(folder: Path) -> None:
    r"""Waits until the names in a folder are on the disk."""
    if os.name == "nt":  # not supported there
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _delete_leftovers(path: Path) -> None:
    r"""Deletes what killed writers of a file left behind."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.(\d+)\.partial{re.escape(path.suffix)}")
    for other in path.parent.iterdir():
        found = name.fullmatch(other.name)
        if found and not _is_alive(int(found[1])):
            other.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where a signal of 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
