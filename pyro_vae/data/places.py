r"""Where data sets are searched: your own folder, your cache, then a download."""

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

VARIABLE = "PYRO_VAE_DATA"


def cache() -> Path:
    r"""The user's cache, ``~/.cache/pyro_vae`` unless ``XDG_CACHE_HOME`` is set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "pyro_vae"


def search_path(data_dir: Path | None) -> list[Path]:
    r"""The folders that are searched, in order."""
    own = data_dir or os.environ.get(VARIABLE)
    return [*([Path(own)] if own else []), cache()]


def find(
    name: str,
    files: Sequence[str],
    data_dir: Path | None,
    *,
    folders: Sequence[str] = (),
    download: Callable[[Path], None] | None = None,
) -> Path:
    r"""Returns the folder that holds `files`, each of which may be compressed (``.gz``).

    Arguments:
        name: The data set, which is also the name of its folder; `-` and `_` are equivalent.
        files: The files that must be there.
        data_dir: Where to look first.
        folders: Other names of the folder, such as torchvision's ``MNIST/raw``.
        download: Fetches the files into the folder it is given, the user's cache.

    Raises:
        ValueError: The set is not there and could not be downloaded.
    """
    names = [name.replace("-", "_"), name, *folders]

    def look() -> Path | None:
        for place in search_path(data_dir):
            for folder in (place / n for n in names):
                if all(any(present(folder, file)) for file in files):
                    return folder
        return None

    if found := look():
        return found
    failure = "it cannot be downloaded"
    if download is not None:
        try:
            _fetch(download, cache() / f".partial-{name}")
        except Exception as error:  # whatever a download can raise
            reason = (str(error) or repr(error)).splitlines()[0].rstrip(" :.")
            failure = f"its download failed ({reason})"
        else:
            if found := look():
                return found
            failure = "its download was incomplete"
    looked = ", ".join(str(place) for place in search_path(data_dir))
    raise ValueError(
        f"Expected the data set {name!r}; got none: it is not in {looked}, and {failure}. Put "
        f"{', '.join(files)} into a folder {names[0]} and set the folder above it with --data-dir "
        f"or {VARIABLE}."
    )


def _fetch(download: Callable[[Path], None], partial: Path) -> None:
    r"""Downloads into a temporary folder, so that nothing incomplete gets a final name."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        download(partial)
        for path in partial.iterdir():
            path.rename(partial.parent / path.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def present(folder: Path, file: str) -> list[Path]:
    r"""The file, plain or compressed, if it is in the folder."""
    return [path for path in (folder / file, folder / f"{file}.gz") if path.exists()]


def verify(path: Path, digest: str) -> Path:
    r"""Returns `path` if the file has this MD5 (32 digits) or SHA-256 (64 digits).

    Raises:
        ValueError: It has a different one.
    """
    kind = "md5" if len(digest) == 32 else "sha256"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != digest:
        raise ValueError(
            f"Expected {path} with {kind} {digest}; got {found}. Delete it and fetch it again."
        )
    return path
