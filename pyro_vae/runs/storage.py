r"""Checkpoints that survive a crash, a full disk and a flipped bit.

``RUN/checkpoints/step-00000120/`` holds one ``.safetensors`` file per group of tensors,
``state.json`` for everything else, and ``manifest.json`` with the size and SHA-256 of each. It is
written under another name and renamed when complete, so that a folder with this name is complete
whatever stops the writer. Nothing here unpickles: reading a checkpoint never runs code from it.
Torch is imported when tensors are read or written.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ..writing import sync_folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

SCHEMA = 1
MANIFEST, STATE = "manifest.json", "state.json"


class CheckpointError(OSError):
    r"""A checkpoint could not be written or read."""


class CheckpointCorrupt(CheckpointError):
    r"""A checkpoint differs from what was written."""


class RunLocked(CheckpointError):
    r"""Another process writes to the run."""


# --- Writing ------------------------------------------------------------------------------------


def save(
    run: Path,
    step: int,
    tensors: "Mapping[str, Mapping[str, Tensor]]",
    state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    r"""Writes a checkpoint of `run` and deletes the oldest ones.

    Once there is a checkpoint, a complete one exists at every moment under its final name; a
    failure does not change earlier ones. The caller must hold :func:`lock`.

    Arguments:
        run: The folder of the run.
        step: The number of steps taken. A checkpoint of the same step is replaced.
        tensors: Groups of tensors, such as ``{"model": {...}, "optimizer": {...}}``.
        state: JSON values; floats are restored exactly.
        keep: The number of checkpoints to keep, among those up to `step`.

    Returns:
        The folder of the checkpoint.

    Raises:
        CheckpointError: It could not be written.
        ValueError: `state` is not JSON, or a group's name is not a plain word.
    """
    import safetensors.torch

    if wrong := [name for name in tensors if not re.fullmatch(r"\w+", name)]:
        raise ValueError(f"Expected plain words as names of tensor groups; got {wrong}. Rename.")
    if step < 0 or keep < 1:
        raise ValueError(
            f"Expected step >= 0 and keep >= 1; got {step} and {keep}. Correct the arguments."
        )
    try:
        state_json = _to_json(state)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected a state of JSON values; got others ({error}). Pass tensors in `tensors`."
        ) from error

    folder = run / "checkpoints"
    final = folder / f"step-{step:08d}"
    partial = folder / f".tmp-{step}-{os.getpid()}"
    megabytes = sum(t.nbytes for group in tensors.values() for t in group.values()) / 1e6
    remedy = (
        f"It needs {megabytes:.1f} MB: free some space, or choose another folder. "
        "Earlier checkpoints are intact."
    )
    with explained(f"Expected to write the checkpoint {final}", remedy):
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(run)
        if partial.exists():
            shutil.rmtree(partial)
        try:
            partial.mkdir()
            files = {STATE: _write(partial / STATE, state_json)}
            for name, group in tensors.items():
                data = safetensors.torch.save({key: _to_save(t) for key, t in group.items()})
                files[f"{name}.safetensors"] = _write(partial / f"{name}.safetensors", data)
            _write(partial / MANIFEST, _manifest(step, files))
            sync_folder(partial)
            if final.exists():  # folders cannot be swapped: until the rename, `newest` uses .old
                aside = folder / f"{final.name}.old"
                _discard(aside)
                final.rename(aside)
            partial.rename(final)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        found = [(n, path) for n, path in _checkpoints(run) if n <= step]
        kept = sorted({n for n, _ in found})[-keep:]
        for n, path in found:
            if n not in kept or (path.suffix == ".old" and path.with_suffix("").exists()):
                _discard(path)
    return final


def _to_save(tensor: "Tensor") -> "Tensor":
    return tensor.detach().cpu().clone().contiguous()


def _to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _write(path: Path, data: bytes) -> dict[str, Any]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    file = os.open(path, flags, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        path.chmod(0o644)  # regardless of the umask
        os.fsync(file)
    finally:
        os.close(file)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _manifest(step: int, files: Mapping[str, Any]) -> bytes:
    manifest = {"schema": SCHEMA, "step": step, "versions": _versions(), "files": files}
    return _to_json({**manifest, "sha256": hashlib.sha256(_to_json(manifest)).hexdigest()})


@functools.cache
def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("pyro_vae", "torch", "pyro-ppl", "numpy", "safetensors"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def _discard(path: Path) -> None:
    r"""Deletes a checkpoint; its final name is removed first, so that it is never partial."""
    if path.exists():
        gone = path.with_name(f".tmp-{path.name}-{os.getpid()}")
        if gone.exists():
            shutil.rmtree(gone)
        path.rename(gone)
        shutil.rmtree(gone)


@contextmanager
def explained(expected: str, remedy: str) -> Iterator[None]:
    r"""Turns errors of the disk into a sentence.

    Raises:
        CheckpointError: What was expected, what happened, and the remedy.
    """
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, SafetensorError) as error:
        failure = CheckpointError(f"{expected}; got: {error}. {remedy}")
        failure.errno = getattr(error, "errno", None)
        raise failure from error


@contextmanager
def understood(source: Path) -> Iterator[None]:
    r"""Turns errors from unexpected names or types in a checkpoint into a message.

    Raises:
        CheckpointCorrupt: The checkpoint does not hold what a training writes.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointCorrupt(
            f"Expected {source} as written by a training; got other contents "
            f"({type(error).__name__}: {error}). Use another checkpoint and delete this one."
        ) from error


@contextmanager
def lock(run: Path) -> Iterator[None]:
    r"""Keeps other processes from writing to `run`, and removes what a killed one left behind.

    The system releases the lock when the process ends, however it ends. Without :mod:`fcntl`
    (Windows) this does nothing.

    Raises:
        RunLocked: Another process holds the lock.
    """
    if fcntl is None:
        yield
        return
    with explained(f"Expected to lock {run}", "Choose another folder."):
        run.mkdir(parents=True, exist_ok=True)
        file = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with explained(f"Expected to lock {run}", "Choose another folder."):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(file, 32).decode(errors="replace").strip() or "unknown"
                raise RunLocked(
                    f"Expected exclusive access to {run}; process {owner} is writing to "
                    "it. Wait for it or stop it, or choose another folder."
                ) from None
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
            for stale in (run / "checkpoints").glob(".tmp-*"):  # no other writer is alive
                shutil.rmtree(stale)
        yield
    finally:
        os.close(file)


# --- Reading ------------------------------------------------------------------------------------


def newest(run: Path) -> Path:
    r"""Returns the complete checkpoint of `run` with the highest step.

    Warns, with the name of the damaged file, if a newer one is damaged.

    Raises:
        CheckpointError: There is no such checkpoint.
    """
    damage = []
    for _, path in sorted(_checkpoints(run), key=lambda at: (at[0], at[1].suffix != ".old"))[::-1]:
        try:
            verify(path)
        except CheckpointError as error:
            damage.append(str(error))
            continue
        if damage:
            warnings.warn(f"{' '.join(damage)} Using {path}.", stacklevel=2)
        return path
    if damage:
        raise CheckpointCorrupt(" ".join(damage))
    hint = ""
    if (run / ".replaced").exists():
        hint = f" The run to be replaced is intact: pyro-vae train --resume {run} restores it."
    raise CheckpointError(
        f"Expected a checkpoint in {run / 'checkpoints'}; got none. Train first, or pass a "
        f"folder that `train` has written.{hint}"
    )


def verify(path: Path) -> None:
    r"""Checks that the checkpoint `path` holds exactly what was written.

    Raises:
        CheckpointCorrupt: A file is missing or unknown, or has another size or digest.
        CheckpointError: A file could not be read.
    """
    for _ in _verified(path):
        pass


def read(
    path: Path, device: "torch.device | str" = "cpu"
) -> "tuple[dict[str, dict[str, Tensor]], dict[str, Any]]":
    r"""Returns the `tensors` and the `state` that :func:`save` was given.

    In addition to the tensors, it needs memory of at most three times the largest file.

    Raises:
        CheckpointCorrupt: The checkpoint differs from what was written.
        CheckpointError: It could not be read.
    """
    import safetensors.torch

    tensors: dict[str, dict[str, Tensor]] = {}
    state: dict[str, Any] = {}
    for name, data in _verified(path):
        try:
            if name == STATE:
                state = json.loads(data)
            else:
                group = safetensors.torch.load(data)
                tensors[Path(name).stem] = {key: t.to(device) for key, t in group.items()}
        except (SafetensorError, ValueError, KeyError, AssertionError, RecursionError) as error:
            raise _corrupt(path / name, "that can be parsed", f"{error}") from error
    return tensors, state


def _checkpoints(run: Path) -> list[tuple[int, Path]]:
    r"""Returns the step and the folder of each checkpoint, including those set aside."""
    found = (run / "checkpoints").glob("step-*")
    matches = [(re.fullmatch(r"step-(\d{8,})(\.old)?", path.name), path) for path in found]
    return [(int(match[1]), path) for match, path in matches if match]


def _corrupt(file: Path, rule: str, fact: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"Expected {file} {rule}; got {fact}. Use another checkpoint and delete this one."
    )


def _verified(path: Path) -> Iterator[tuple[str, bytes]]:
    r"""Yields the name and the verified bytes of each file."""
    with explained(f"Expected to read the checkpoint {path}", "Check its path and permissions."):
        everything = {file.name for file in path.iterdir()}
        plain = {n for n in everything if (path / n).is_file() and not (path / n).is_symlink()}
        if MANIFEST not in plain:
            raise _corrupt(path / MANIFEST, "to exist", "no such file")
        text = (path / MANIFEST).read_bytes()

    files = _files(path / MANIFEST, text)
    for name in sorted(files.keys() - plain):
        raise _corrupt(path / name, "to exist", "no such file")
    for name in sorted(everything - files.keys() - {MANIFEST}):
        raise _corrupt(path / name, "not to exist", "a file that the manifest does not list")
    for name, wanted in files.items():
        with explained(f"Expected to read {path / name}", "Check its permissions."):
            size = (path / name).stat().st_size
            if size != wanted["bytes"]:
                raise _corrupt(path / name, f"of {wanted['bytes']} bytes", f"{size}")
            data = (path / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != wanted["sha256"]:
            raise _corrupt(path / name, "with the manifest's SHA-256", "a different one")
        yield name, data


def _files(file: Path, text: bytes) -> dict[str, dict[str, Any]]:
    r"""Returns the size and digest of each file that the manifest lists."""
    try:
        manifest = json.loads(text)
        schema = manifest["schema"]
        {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _corrupt(file, "to be a manifest", f"other text ({error!r})") from error
    if schema != SCHEMA:
        remedy = "Read it with the version of pyro_vae that wrote it."
        raise CheckpointCorrupt(f"Expected {file} of schema {SCHEMA}; got {schema!r}. {remedy}")
    digest = manifest.pop("sha256", None)
    whole = _to_json({**manifest, "sha256": digest})
    if whole != text or hashlib.sha256(_to_json(manifest)).hexdigest() != digest:
        raise _corrupt(file, "as it was written", "different text")
    return manifest["files"]
