r"""Readers of files of any origin: sizes are checked first, nothing is executed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import File
from ..deprecation import renamed
from .archives import read_idx, read_npy, read_npz
from .arrays import native
from .cells import Holes
from .content import Content
from .dataset import Dataset, cut, print_facts
from .inputs import with_known
from .levels import as_trained, find_range
from .pictures import read_images
from .places import search_path
from .split import Split, as_split
from .tables import TYPED, read_table, read_typed

TABLES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", *TYPED)
OF_TEXT = ("header", "separator", "decimal", "encoding")
OF_TABLES = ("label", "index", "drop", "categories", "holes", "usual_holes")
OPTIONS = {
    "a table of text": (*OF_TABLES, *OF_TEXT),
    "a typed table": OF_TABLES,
    "an archive": ("array", "label", "holes"),
    "an array": ("holes",),
    "an IDX file": ("holes",),
}


def read_file(config: File, data_dir: Path | None) -> Dataset:
    r"""Reads your own data; a file without splits is shuffled by `seed` and split.

    A memory-mapped file is split in the order of its rows.
    """
    path = find_file(config.path, data_dir)
    _check_options(_kind(path), str(path), config)
    return _dataset(read(path, config), str(path), config)


def read_dataframe(frame: Any, config: File) -> Dataset:
    r"""Reads a DataFrame as :func:`read_file` reads a table."""
    source = str(config.path)
    _check_options("a typed table", source, config)
    return _dataset(read_typed(frame, source, config), source, config)


def _dataset(content: Content, source: str, config: File) -> Dataset:
    if "" not in content.x and "train" not in content.x:
        raise ValueError(
            f"Expected data to train on in {source}; got only {', '.join(content.x)}."
        )
    facts, splits = content.facts, _splits(content, source)
    config = config.model_copy(update={"range": find_range(splits, config, facts)})
    if "" in splits:
        splits = cut(splits[""], config.valid, config.test, config.seed)
        requested = {"valid": config.valid, "test": config.test}
        if absent := [name for name, size in requested.items() if size and not len(splits[name])]:
            facts.append(f"no rows for {' and '.join(absent)}")
    elif "valid" not in splits:
        rows = len(splits["train"])
        parts = cut(splits["train"], config.valid, 0, config.seed)
        if held := len(parts["valid"]):
            facts.append(f"{held} of {rows} training rows for validation (--data.valid 0: none)")
        splits |= {"train": parts["train"], "valid": parts["valid"]}
    return Dataset.make(config, splits, "\n".join(facts), content.label)


def whole_file(
    path: Path, rules: Any, name: str, form: Mapping[str, Any] | None = None
) -> tuple[Split, str]:
    r"""Reads a split of a file, or the whole file if it has no splits, as the training data were
    read; returns it with its name.

    Arguments:
        path: The file.
        rules: The settings of the training data.
        name: The split; ``"all"`` is every row.
        form: The form of the training data, as in ``Dataset.record()["form"]``: the
            columns and their codes, the classes, the highest grey level.

    Raises:
        ValueError: The file has no such columns, codes or grey levels.
    """
    settings = {key: getattr(rules, key) for key in ("binarize", "range", "seed", "known")}
    options = rules if isinstance(rules, File) else File(path=path, **settings)
    wanted = form and {**form, "columns": [*form["columns"], *form.get("known_columns", ())]}
    content = read(path, options, wanted)
    splits = _splits(content, str(path))
    found = form["range"] if form else find_range(splits, options, content.facts)
    options = options.model_copy(update={"range": found})
    if form:
        splits = {k: as_trained(s, form, options, content.facts) for k, s in splits.items()}
    print_facts(content.facts)
    made = Dataset.make(options, {("test" if k == "" else k): s for k, s in splits.items()})
    made = _with_known(made, rules, form or {})
    if name == "all" or "" in splits:
        return made.all(), "all"
    if name not in made.splits:
        raise ValueError(f"Expected {name!r} data in {path}; got {', '.join(made.splits)}.")
    return made.splits[name], name


def _with_known(made: Dataset, rules: Any, form: Mapping[str, Any]) -> Dataset:
    r"""Adds the additional inputs of the training data; labels may be absent."""
    labelled = all(split.labels is not None for split in made.splits.values())
    known = {n: c for n, c in rules.known.items() if labelled or c != ("label",)}
    sizes = [form.get("known", {}).get(n, [0])[0] for n, c in known.items() if c == ("label",)]
    config = made.config.model_copy(update={"known": known, "num_labels": None})
    return with_known(replace(made, config=config), max(sizes, default=0)) if known else made


def read(path: Path, config: File | None = None, form: Mapping[str, Any] | None = None) -> Content:
    r"""Reads .npy, .npz, a table (CSV and the like, parquet), IDX (also .gz) or a folder of
    images.

    Raises:
        ValueError: The file is none of these, is damaged, or claims more than it holds.
    """
    config = config or File(path=path)
    match _kind(path):
        case "a folder of images":
            return read_images(path)
        case "a table of text" | "a typed table":
            return read_table(path, config, form)
        case "an archive":
            return _with_missing(read_npz(path, config), config)
        case "an array":
            return _with_missing(Content({"": read_npy(path)}), config)
    return _with_missing(Content({"": read_idx(path)}), config)


def is_text_table(path: Path) -> bool:
    r"""Whether a file is a table written as text."""
    return path.is_file() and _kind(path) == "a table of text"


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder of images"
    if not path.is_file():
        raise ValueError(f"Expected a file or a folder of images; {path} is not there.")
    suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    if suffix.lower() in TABLES:
        return "a typed table" if suffix.lower() in TYPED else "a table of text"
    if path.suffix.lower() in (".npz", ".npy"):
        return "an archive" if path.suffix.lower() == ".npz" else "an array"
    if "idx" in path.name or "ubyte" in path.name:
        return "an IDX file"
    raise ValueError(
        f"Expected a .npy or .npz file, a table ({', '.join(TABLES)}), IDX (-ubyte, .idx), or a "
        f"folder of images; got {path}. Save the data as one of these."
    )


def _check_options(kind: str, source: str, config: File) -> None:
    r"""Refuses options that have no effect on a file of this kind."""
    apply = OPTIONS.get(kind, ())
    for option in ("array", *OF_TABLES, *OF_TEXT):
        default = File.model_fields[option].default
        found = config.hole_words if option == "holes" else getattr(config, option)
        if option not in apply and found != default:
            known = f"{kind} takes {', '.join(apply)}" if apply else f"{kind} takes none of these"
            raise ValueError(
                f"Expected options that apply to {source}; got data.{option}, but "
                f"{known}. Leave it out."
            )


def _with_missing(content: Content, config: File) -> Content:
    r"""Replaces the numbers that mark missing values with NaN."""
    holes = Holes(config)
    if not holes.own:
        return content
    if any(isinstance(x, np.memmap) for x in content.x.values()):
        raise ValueError(
            "Expected no data.holes for an array that is mapped into memory (above 1 GB); got "
            f"{', '.join(config.hole_words)}. Save it with NaN instead of these."
        )
    content.x = {name: holes.to_nan(native(x, name)) for name, x in content.x.items()}
    holes.report(content.facts)
    return content


def find_file(path: Path, data_dir: Path | None) -> Path:
    r"""Returns the path of the file: as named, or in one of the data folders.

    Raises:
        ValueError: It is not there.
    """
    path = path.expanduser()
    found = [
        path,
        *(place / name for place in search_path(data_dir) for name in (path, path.name)),
    ]
    for candidate in found:
        if candidate.exists():
            return candidate
    raise ValueError(
        f"Expected a file or a folder of images; {path} is not there, nor is {path.name} in "
        f"{', '.join(map(str, search_path(data_dir)))}. Set the path with "
        "--data.path (for a run, --data), or its folder with --data-dir."
    )


def _splits(content: Content, path: str) -> dict[str, Split]:
    r"""The arrays of a file as splits; images have their channels first."""
    shapes = {name: tuple(x.shape[1:]) for name, x in content.x.items()}
    if len({*shapes.values()}) > 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"Expected data of one shape in {path}; got {listing}.")
    splits = {}
    for name, x in content.x.items():
        source = f"{path}/{name}" if name else path
        if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
            content.facts.append(f"channels are moved from last to first in {x.shape[1:]}")
            x = np.moveaxis(x, -1, 1)
        split = as_split(x[:, None] if x.ndim == 3 else x, source)
        labels = content.labels.get(name)
        if labels is not None and len(labels) != len(split):
            raise ValueError(
                f"Expected a label for each of {len(split)} rows in {source}; got {len(labels)}."
            )
        splits[name] = replace(
            split,
            labels=None if labels is None else torch.from_numpy(native(labels, source)),
            columns=content.columns,
            classes=content.classes,
        )
    return splits


__getattr__ = renamed(__name__, {"own": "read_file"})
