r"""Output of commands: complete files under the given names."""

import csv
import sys
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ..writing import replacing

if TYPE_CHECKING:
    from ..data import Column

SUFFIXES = (".npz", ".npy", ".csv")
HEARD = {  # what is written as sound or music, by suffix: kinds of data, and in words
    ".wav": (("fsdd", "fsdd-waves"), "sound"),
    ".mid": (("jsb-chorales",), "piano rolls"),
}
AND_SOUND = (*SUFFIXES, *HEARD)


def check_out(out: Path | None, suffixes: Sequence[str] = SUFFIXES, flag: str = "--out") -> None:
    r"""Refuses a file that could not be written, before anything is computed.

    Raises:
        ValueError: The suffix is not allowed, the path is a folder, or its folder does not exist.
    """
    if out is None:
        return
    if out.suffix.lower() not in suffixes or out.is_dir():
        raise ValueError(f"Expected {flag} with the suffix {' or '.join(suffixes)}; got {out}.")
    if not out.parent.is_dir():
        raise ValueError(f"Expected a folder {out.parent} for {flag} {out}; create it first.")


def check_sound(out: Path | None, record: Mapping[str, Any]) -> None:
    r"""Refuses a .wav file of data that are no sound, and a .mid file of those that are no music.

    Arguments:
        out: The file.
        record: What the run recorded about its data.

    Raises:
        ValueError: They are not.
    """
    if out is None or out.suffix.lower() not in HEARD:
        return
    kinds, words = HEARD[out.suffix.lower()]
    if record.get("name") not in kinds:
        raise ValueError(
            f"Expected a run on {words} (data.kind {' or '.join(kinds)}) for {out}; got one on "
            f"{record.get('name')}. Use --out with the suffix {' or '.join(SUFFIXES)}."
        )


def check_spares(out: Path | None, *sources: Any) -> None:
    r"""Refuses to overwrite the data.

    Raises:
        ValueError: `out` is one of these files, or is in one of these folders.
    """
    for source in sources if out is not None else ():
        place, file = Path(source).resolve(), Path(str(out)).resolve()
        if place == file or (place.is_dir() and place in file.parents):
            raise ValueError(
                f"Expected --out outside the data; got {out}, which would overwrite them."
            )


def write_arrays(out: Path, arrays: Mapping[str, Any]) -> None:
    r"""Writes arrays of one length as .npz, as a .csv table, or only the first as .npy.

    In a table, each column of a two-dimensional array has its own name: ``loc_0``, ``loc_1``.
    """
    import numpy as np

    with replacing(out) as partial:
        if out.suffix.lower() == ".csv":
            with partial.open("w", newline="", encoding="utf-8") as table:
                _write_table(table, arrays)
        else:
            with partial.open("wb") as file:
                # to a name numpy would append a suffix, and to a file of the system it writes
                # without noticing that the disk is full
                if out.suffix.lower() == ".npz":
                    np.savez(file, **arrays)
                else:
                    np.save(SimpleNamespace(write=file.write), next(iter(arrays.values())))
    shapes = [f"{name} {np.shape(array)}" for name, array in arrays.items()]
    print(f"{out}: {', '.join(shapes[:1] if out.suffix == '.npy' else shapes)}")


def named_columns(x: Any, columns: Sequence["Column"]) -> dict[str, Any]:
    r"""The columns of a table by name, with the names of categories instead of codes."""
    found: dict[str, Any] = {}
    for j, column in enumerate(columns):
        values = [float(v) for v in x[:, j]]
        if column.categories:
            names = column.categories
            found[column.name] = ["" if isnan(v) else names[int(v)] for v in values]
        else:
            found[column.name] = ["" if isnan(v) else v for v in values]
    return found


def write_data(
    out: Path, x: Any, form: Mapping[str, Any], keys: Mapping[str, Any], what: str
) -> None:
    r"""Writes data of a model, as a table with the names of the training data or as an array.

    Arguments:
        out: The file.
        x: The data.
        form: The form of the data, as a run records it.
        keys: Columns for joining the rows with the user's file.
        what: ``"sample"`` or ``"mean"``; means of codes are not categories.
    """
    from ..data import Column

    if out.suffix.lower() == ".wav":
        write_sound(out, x, form)
        return
    if out.suffix.lower() == ".mid":
        write_music(out, x)
        return
    columns = [Column(name, tuple(codes)) for name, codes in form.get("columns", ())]
    if out.suffix.lower() == ".csv" and columns:
        if what == "mean":
            columns = [Column(column.name) for column in columns]
        write_arrays(out, {**keys, **named_columns(x, columns)})
    else:
        write_arrays(out, {"x": x, **keys})


def write_sound(out: Path, x: Any, form: Mapping[str, Any]) -> None:
    r"""Writes samples or log-mel frames of a model as sound, one datum after the other."""
    import torch

    from ..data import from_levels, to_waves, write_wav
    from ..data.sound import RATE

    levels = torch.from_numpy(x)
    if levels.dim() == 2:
        waves = from_levels(levels)
    else:
        waves = to_waves(levels if form.get("range") == "unit" else levels / form["levels"])
    write_wav(out, waves)
    seconds = waves.shape[1] / RATE
    print(f"{out}: {len(waves)} clips of {seconds:.2f} s, one after the other, at {RATE} Hz")


def write_music(out: Path, x: Any) -> None:
    r"""Writes piano rolls of a model as music, one datum after the other."""
    import torch

    from ..data import write_midi

    write_midi(out, torch.from_numpy(x))
    print(f"{out}: {len(x)} piano rolls, one after the other, 100 steps a minute")


def _write_table(file: Any, arrays: Mapping[str, Any]) -> None:
    import numpy as np

    columns: dict[str, Any] = {}
    for name, values in arrays.items():
        array = np.asarray(values)
        if array.ndim == 1:
            columns[name] = array.tolist()
        else:
            rows = array.reshape(len(array), -1)
            columns |= {f"{name}_{j}": rows[:, j].tolist() for j in range(rows.shape[1])}
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values()))


def save_plot(figure: Any, run: Path, name: str, title: str) -> None:
    r"""Writes a plot of a run."""
    from ..plot.canvas import save

    path = run / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    save(figure, path, title)
    print(f"Plot: {path}")


def announce(text: str) -> None:
    r"""Announces a step that takes a few seconds."""
    from ..ranks import here

    if here().rank == 0:
        print(text, file=sys.stderr, flush=True)


def at_least_one(count: int, flag: str = "--num-data") -> int:
    if count < 1:
        raise ValueError(f"Expected {flag} of at least 1; got {count}.")
    return count
