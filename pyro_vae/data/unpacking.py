r"""How much is read of a file whose size says little."""

from gzip import GzipFile
from pathlib import Path
from typing import IO

RATIO = 200  # of unpacked to packed bytes, beyond which an archive is a bomb,
FREE = 100_000_000  # if it has more bytes than this
CHUNK = 1 << 20


def most_bytes(path: Path) -> int:
    r"""The most bytes that a compressed file may have when it is unpacked."""
    return max(FREE, RATIO * path.stat().st_size)


def read_at_most(file: IO[bytes] | GzipFile, count: int) -> bytes:
    r"""Reads the rest of a file, but not more than `count` bytes.

    Memory grows with what is there; ``file.read(count)`` would take that of `count` at once.
    """
    parts: list[bytes] = []
    while count > 0 and (part := file.read(min(count, CHUNK))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
