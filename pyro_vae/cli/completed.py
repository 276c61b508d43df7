r"""Completed data as files, in the form of the user's own, and how far they are from the truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import write_arrays, write_data

if TYPE_CHECKING:
    from ..data import Split
    from ..runs import RunFolder
    from ..views import Imputed


def write_completed(
    out: Path,
    run: "RunFolder",
    source: Path | None,
    data_dir: Path | None,
    split: "Split",
    found: "Imputed",
    count: int,
) -> None:
    r"""Writes one completion of each datum, and several that are drawn.

    Arguments:
        out: The file; draws are written beside it.
        run: The run.
        source: The file that the data are from, if there is one.
        data_dir: Where to look for it.
        split: The data.
        found: Their completions.
        count: How many of these are written.
    """
    import numpy as np

    from ..data import find_file, is_text_table
    from ..views import single

    table = bool(split.columns)
    whole = single(found, split.columns).cpu().numpy()
    draws = found.draws[:count].cpu().numpy()
    numbers = split.row_numbers.tolist()
    beside = out.with_name(f"{out.stem}-draws{out.suffix}")
    path = None if source is None else find_file(source, data_dir)
    if table and out.suffix.lower() == ".csv" and path is not None and is_text_table(path):
        _write_text(out, beside, path, run, split, whole, draws)
        return
    keys: dict[str, Any] = {"rows": split.row_numbers.numpy()}
    if out.suffix.lower() == ".npz":
        sizes = {"khat": found.khat, "rhat": found.rhat, "ess": found.ess}
        figures = {name: value.cpu().numpy() for name, value in sizes.items()}
        write_arrays(out, {"x": whole, "draws": draws, **keys, **figures})
        return
    write_data(out, whole, run.recorded.form, keys, "sample" if table else "mean")
    many = draws.reshape(-1, *draws.shape[2:])
    rows = {
        "imputation": np.repeat(np.arange(1, count + 1), len(numbers)),
        "rows": np.tile(keys["rows"], count),
    }
    write_data(beside, many, run.recorded.form, rows, "sample")


def _write_text(
    out: Path, beside: Path, path: Path, run: "RunFolder", split: "Split", whole: Any, draws: Any
) -> None:
    r"""Writes the user's own table with its holes filled."""
    from ..config import File
    from ..data import read_original

    rules = run.recipe.data
    options = rules if isinstance(rules, File) else File(path=path)
    original = read_original(path, options, run.recorded.form)
    numbers = split.row_numbers.tolist()
    holes = split.rows(slice(None)).isnan().cpu().numpy()
    original.write(out, original.filled(numbers, whole, holes))
    print(f"{out}: {len(numbers)} rows of {path}, completed")
    rows = [
        [str(i + 1), *row]
        for i, values in enumerate(draws)
        for row in original.filled(numbers, values, holes)
    ]
    original.write(beside, rows, "imputation")
    print(f"{beside}: {len(draws)} drawn completions of each, told apart by the column imputation")


def errors(found: "Imputed", split: "Split") -> Iterator[str]:
    r"""Says how far completions are from what was hidden on purpose."""
    import torch

    from ..data import moments
    from ..views import single

    if split.holes is None:
        return
    truth = split.hiding(None)
    coded = [j for j, column in enumerate(split.columns) if column.categories]
    guess, x = single(found, split.columns).cpu().double(), truth.rows(slice(None)).cpu().double()
    known = split.holes.cpu() & ~x.isnan()
    right = known[:, coded] if coded else known[:, :0]
    if coded and bool(right.any()):
        share = (guess == x)[:, coded][right].double().mean()
        yield f"Of {int(right.sum())} hidden categories, {float(share):.1%} are right."
    numeric = known.clone()
    if coded:
        numeric[:, coded] = False
    if bool(numeric.any()):
        _, spread = moments(truth)
        unit = torch.where(spread > 0, spread, 1.0).cpu() if split.columns else 1.0
        error = ((guess - x) / unit)[numeric].square().mean().sqrt()
        of = " standard deviations of their column" if split.columns else ""
        count = int(numeric.sum())
        yield f"Root mean square error of {count} hidden numbers: {float(error):.4f}{of}."
