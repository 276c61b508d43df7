r"""Readers of files that may be anything: sizes are checked first, nothing is executed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import File
from .archives import Content, read_idx, read_npy, read_npz
from .arrays import native
from .cells import Holes
from .dataset import Dataset, cut, say, with_known
from .pictures import read_pictures
from .places import places
from .split import Split, as_split
from .tables import read_table

TYPED = (".parquet", ".feather", ".arrow")
TABLES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data", *TYPED)
DEPTHS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
FEW_LEVELS = 16
OF_TEXT = ("header", "separator", "decimal", "encoding")
OF_TABLES = ("label", "index", "drop", "categories", "holes", "usual_holes")


def own(config: File, data_dir: Path | None) -> Dataset:
    r"""Reads one's own data; a file of one piece is cut by a permutation that `seed` draws.

    A memory-mapped file is cut in the order of its rows.
    """
    path = find_file(config.path, data_dir)
    _check_options(path, config)
    content = read(path, config)
    facts = list(content.facts)
    if "" not in content.x and "train" not in content.x:
        raise ValueError(f"Expected data to train on in {path}; got only {', '.join(content.x)}.")
    splits = _splits(content, path, config, facts)
    config = config.model_copy(update={"range": _scale(splits, config, facts)})
    if "" in splits:
        splits = cut(splits[""], config.valid, config.test, config.seed)
        asked = {"valid": config.valid, "test": config.test}
        if absent := [name for name, size in asked.items() if size and not len(splits[name])]:
            facts.append(f"no rows for {' and '.join(absent)}")
    elif "valid" not in splits:
        splits |= _held_out(splits["train"], config, facts)
    return Dataset.make(config, splits, "\n".join(facts), content.label)


def _held_out(train: Split, config: File, facts: list[str]) -> dict[str, Split]:
    r"""Rows of a training set that validate, drawn by `seed`, where a file has none for that."""
    parts = cut(train, config.valid, 0, config.seed)
    if len(parts["valid"]):
        facts.append(
            f"{len(parts['valid'])} of {len(train)} training rows validate (--data.valid 0: none)"
        )
    return {"train": parts["train"], "valid": parts["valid"]}


def whole_file(
    path: Path, like: Any, name: str, form: Mapping[str, Any] | None = None
) -> tuple[Split, str]:
    r"""Reads a split of a file, or the whole of one without splits, as training data were read;
    returns it with its name.

    Arguments:
        path: The file.
        like: The settings of the training data.
        name: The split; of "all", a file has what it has.
        form: What was found out about the training data, as ``Dataset.record()["form"]``: the
            columns and their codes, the classes, the highest grey level.

    Raises:
        ValueError: The file has no such columns, codes or grey levels.
    """
    options = like if isinstance(like, File) else File(path=path, **_rules(like))
    wanted = form and {**form, "columns": [*form["columns"], *form.get("known_columns", ())]}
    content = read(path, options, wanted)
    facts: list[str] = []
    splits = _splits(content, path, options, facts)
    if form is None:
        options = options.model_copy(update={"range": _scale(splits, options, facts)})
    else:
        options = options.model_copy(update={"range": form["range"]})
        for key, split in splits.items():
            splits[key] = _as_trained(split, form, options, facts)
    say((*content.facts, *facts))
    made = Dataset.make(options, {("test" if k == "" else k): s for k, s in splits.items()})
    made = _with_known(made, like, form or {})
    if name == "all" or "" in splits:
        return made.all(), "all"
    if name not in made.splits:
        raise ValueError(f"Expected {name!r} data in {path}; got {', '.join(made.splits)}.")
    return made.splits[name], name


def _with_known(made: Dataset, like: Any, form: Mapping[str, Any]) -> Dataset:
    r"""What the training data bring besides `x`, as far as a file has it: it may lack labels."""
    labelled = all(split.labels is not None for split in made.splits.values())
    known = {n: c for n, c in like.known.items() if labelled or c != ("label",)}
    sizes = [form.get("known", {}).get(n, [0])[0] for n, c in known.items() if c == ("label",)]
    config = made.config.model_copy(update={"known": known, "num_labels": None})
    return with_known(replace(made, config=config), max(sizes, default=0)) if known else made


def read(path: Path, config: File | None = None, form: Mapping[str, Any] | None = None) -> Content:
    r"""Reads .npy, .npz, a table (CSV and the like, parquet), IDX (also .gz) or a folder of
    pictures.

    Raises:
        ValueError: The file is none of these, is damaged, or claims more than it holds.
    """
    config = config or File(path=path)
    kind = _kind(path)
    if kind == "a folder of pictures":
        x, labels, classes, facts = read_pictures(path)
        return Content(x, labels, classes=classes, facts=tuple(facts))
    if kind in ("a table of text", "a typed table"):
        table = read_table(path, config, form)
        labels = {} if table.labels is None else {"": table.labels}
        said = tuple(table.facts)
        return Content({"": table.x}, labels, table.columns, table.label, table.classes, said)
    if kind == "an archive":
        return _dug(read_npz(path, config), config)
    return _dug(Content({"": read_npy(path) if kind == "an array" else read_idx(path)}), config)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder of pictures"
    if not path.is_file():
        raise ValueError(f"Expected a file or a folder of pictures; {path} is not there.")
    suffix = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    if suffix.lower() in TABLES:
        return "a typed table" if suffix.lower() in TYPED else "a table of text"
    if path.suffix.lower() in (".npz", ".npy"):
        return "an archive" if path.suffix.lower() == ".npz" else "an array"
    if "idx" in path.name or "ubyte" in path.name:
        return "an IDX file"
    raise ValueError(
        f"Expected a file .npy, .npz, a table ({', '.join(TABLES)}), IDX (-ubyte, .idx), or a "
        f"folder of pictures; got {path}. Save the data as one of these."
    )


def _check_options(path: Path, config: File) -> None:
    r"""Refuses options that would do nothing for a file of this kind."""
    kind = _kind(path)
    apply = {
        "a table of text": (*OF_TABLES, *OF_TEXT),
        "a typed table": OF_TABLES,
        "an archive": ("array", "label", "holes"),
        "an array": ("holes",),
        "an IDX file": ("holes",),
    }.get(kind, ())
    for option in ("array", *OF_TABLES, *OF_TEXT):
        default = File.model_fields[option].default
        if option not in apply and getattr(config, option) != default:
            known = f"{kind} knows {', '.join(apply)}" if apply else f"{kind} knows none of these"
            raise ValueError(
                f"Expected options that mean something for {path}; got data.{option}, but "
                f"{known}. Leave it out."
            )


def _dug(content: Content, config: File) -> Content:
    r"""Arrays with NaN in the place of the numbers that stand for missing values."""
    holes = Holes(config)
    if not holes.own:
        return content
    if any(isinstance(x, np.memmap) for x in content.x.values()):
        raise ValueError(
            "Expected no data.holes for an array that is mapped into memory (above 1 GB); got "
            f"{', '.join(map(str, config.holes))}. Save it with NaN in these places."
        )
    facts = list(content.facts)
    dug = {name: holes.dug(native(x, name)) for name, x in content.x.items()}
    holes.tell(facts)
    return content._replace(x=dug, facts=tuple(facts))


def find_file(path: Path, data_dir: Path | None) -> Path:
    r"""Returns the file, where it is named or in a folder of data.

    Raises:
        ValueError: It is in none of them.
    """
    path = path.expanduser()
    found = [path, *(place / name for place in places(data_dir) for name in (path, path.name))]
    for candidate in found:
        if candidate.exists():
            return candidate
    raise ValueError(
        f"Expected a file or a folder of pictures; {path} is not there, nor is {path.name} in "
        f"{', '.join(map(str, places(data_dir)))}. Name it by "
        "--data.path (of a run, by --data), or its folder by --data-dir."
    )


def _rules(like: Any) -> dict[str, Any]:
    return {"binarize": like.binarize, "range": like.range, "seed": like.seed}


def _splits(content: Content, path: Path, config: File, facts: list[str]) -> dict[str, Split]:
    r"""The arrays of a file as splits, pictures with their channels first."""
    shapes = {name: tuple(x.shape[1:]) for name, x in content.x.items()}
    if len({*shapes.values()}) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"Expected data of one shape in {path}; got {told}.")
    splits = {}
    for name, x in content.x.items():
        source = f"{path}/{name}" if name else str(path)
        if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
            facts.append(f"channels, the last of {x.shape[1:]}, are put first")
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


def _scale(splits: dict[str, Split], config: File, facts: list[str]) -> str:
    r"""Finds out what the highest grey level of whole numbers is, and whether to divide by it."""
    levels = [split.levels for split in splits.values()]
    first = next(iter(splits.values()))
    if None in levels:
        return "levels" if config.range == "auto" else config.range
    highest = max(level for level in levels if level is not None)
    dtype = first.stored.dtype
    eight = dtype in (torch.uint8, np.dtype(np.uint8))
    pictures = eight or len(first.x_shape) > 1
    if eight and highest > FEW_LEVELS:
        highest = 255
    elif pictures and highest > 255:
        highest = next((depth for depth in DEPTHS if depth >= highest), highest)
    for name, split in splits.items():
        splits[name] = replace(split, levels=highest)
    found = config.range
    if found == "auto":
        found = "unit" if pictures else "levels"
    if highest == 1:
        facts.append("bits")
    elif config.binarize != "no":
        facts.append(f"grey levels 0..{highest} become bits ({config.binarize})")
    elif found == "unit":
        facts.append(
            f"levels 0..{highest} are divided by {highest} (--data.range levels keeps them)"
        )
    else:
        facts.append(
            f"whole numbers 0..{highest} are kept (--data.range unit divides them by {highest})"
        )
    return found


def _as_trained(split: Split, form: Mapping[str, Any], config: File, facts: list[str]) -> Split:
    r"""A split with the grey levels of the training data."""
    highest = form["levels"]
    divided = highest and highest > 1 and (form["range"] == "unit" or config.binarize != "no")
    if split.levels is None and divided and not isinstance(split.stored, np.memmap):
        return _levels_of(split, highest, facts)
    if split.levels is not None and highest is None:
        if split.stored.dtype in (torch.uint8, np.dtype(np.uint8)) and split.levels > 1:
            raise ValueError(
                f"Expected real numbers, as in training; got bytes up to {split.levels} in "
                f"{split.source}. Bring them to the units of the training data first (divide by "
                "255 where those were 0..1), and save real numbers."
            )
        facts.append("whole numbers are taken as they are, as real numbers")
        return split
    if split.levels is None or highest is None:
        return split
    kept = form["range"] == "levels" and config.binarize == "no"
    if split.levels > form["levels"] and not kept:
        raise ValueError(
            f"Expected whole numbers up to {form['levels']}, as in training; got {split.levels} "
            f"in {split.source}."
        )
    return replace(split, levels=highest)


def _levels_of(split: Split, highest: int, facts: list[str]) -> Split:
    r"""Real numbers where training had grey levels that were divided: levels, or shares of 1."""
    x = split.stored
    there = x[x.isfinite()]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 0.0)
    if low >= 0 and high <= 1:
        facts.append(f"numbers from 0 to 1 are taken as levels divided by {highest}")
        return split
    if low >= 0 and high <= highest and bool((x == x.round()).all()):
        facts.append(f"levels 0..{highest} are divided by {highest}, as in training")
        return replace(split, stored=x.to(torch.int64), levels=highest)
    raise ValueError(
        f"Expected grey levels 0..{highest}, as in training, or numbers from 0 to 1; got values "
        f"from {low:g} to {high:g} in {split.source}. Bring them to the same units first."
    )
