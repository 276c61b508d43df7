r"""Loads data: sets by name, files by path, DataFrames."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config import REGISTRY, DataKind, File, suggestion, validate
from . import sets
from .dataset import Dataset, print_facts
from .files import read_dataframe, read_file
from .frames import is_frame
from .holes import with_holes
from .inputs import with_known


def load(
    config: DataKind | str | Path,
    data_dir: str | Path | None = None,
    *,
    quiet: bool = False,
    **options: Any,
) -> Dataset:
    r"""Returns a data set by its name, or one read from a file.

    What was decided about a file is printed, one line per decision, and stored in
    ``Dataset.notes``.

    Arguments:
        config: The name of a set (``"mnist"``; ``pyro-vae list`` shows all), the path of a file or
            of a folder of images, or a kind of data such as ``pv.config.MNIST(valid=0)``.
        data_dir: Where to look first, before the folder ``PYRO_VAE_DATA`` and the user's cache.
        quiet: Prints nothing.
        options: Settings of the kind (:mod:`pyro_vae.config`), together with a name or a path:
            ``load("mnist", binarize="dynamic")``, ``load("table.csv", label="species")``.

    Raises:
        ValueError: There is no such set, file or setting, or the data are not valid.

    Example:
        >>> load("digits", valid=0)
        digits: train 1500, test 297, x of shape (1, 8, 8)
    """
    if isinstance(config, str | Path):
        kind: Any = _kind_of(config, options)
    elif not isinstance(config, DataKind):
        remedy = "from_dataframe" if is_frame(config) else "as_split"
        raise ValueError(
            "Expected the name of a data set, a path or a kind of data; got an object of type "
            f"{type(config).__name__}. Use pv.data.{remedy} for data in memory."
        )
    elif options:
        raise ValueError(
            f"Expected options only with a name or a path; got {', '.join(options)} with a "
            "kind of data. Set them in the kind."
        )
    else:
        kind = config
    folder = None if data_dir is None else Path(data_dir)
    read = read_file if kind.kind == "file" else getattr(sets, kind.kind.replace("-", "_"))
    return _finish(read(kind, folder), quiet)


def from_dataframe(frame: Any, *, quiet: bool = False, **options: Any) -> Dataset:
    r"""Returns a data set from a DataFrame, read as :func:`load` reads a table from a file.

    Text becomes the codes of its categories, dates become days since 1970, and missing values
    become NaN; the index of a pandas DataFrame is left out.

    Arguments:
        frame: A DataFrame of pandas or polars, or a pyarrow table.
        quiet: Does not print what was decided.
        options: Settings of :class:`pyro_vae.config.File`: ``label``, ``drop``, ``categories``,
            ``holes``, ``valid``, ``test``, ``seed`` and the like.

    Raises:
        ValueError: `frame` is not a DataFrame, there is no such setting or column, or a column
            holds no numbers, dates or categories.
    """
    if not is_frame(frame):
        raise ValueError(
            "Expected a DataFrame of pandas or polars, or a pyarrow table; got an "
            f"object of type {type(frame).__name__}. Use pv.data.as_split for arrays, "
            "pv.data.load for files."
        )
    config = validate({"path": "the DataFrame", **options}, File)
    return _finish(read_dataframe(frame, config), quiet)


def _finish(dataset: Dataset, quiet: bool) -> Dataset:
    if dataset.config.known:
        dataset = with_known(dataset)
    dataset = with_holes(dataset)
    if dataset.name == "file" and not quiet:
        print_facts(dataset.notes.splitlines())
    return dataset


def _kind_of(name: str | Path, options: Mapping[str, Any]) -> Any:
    r"""The kind of data with this name, or your own file."""
    known = REGISTRY["data"].get(str(name).replace("_", "-"))
    if known is not None and str(name) != "file":
        return validate(options, known)
    if isinstance(name, str) and not Path(name).suffix and not Path(name).expanduser().exists():
        raise ValueError(
            f"Expected a data set ({', '.join(REGISTRY['data'])}) or a file; got {name!r}"
            f"{suggestion(name, REGISTRY['data'])}."
        )
    return validate({"path": name, **options}, File)


def _set(name: str) -> Callable[..., Dataset]:
    r"""The function that loads one set."""
    kind = REGISTRY["data"][name]

    def function(data_dir: str | Path | None = None, **options: Any) -> Dataset:
        return load(name, data_dir, **options)

    options = ", ".join(f"{key}={value!r}" for key, value in kind().model_dump().items())
    function.__name__ = function.__qualname__ = name.replace("-", "_")
    function.__doc__ = (
        f"Returns {kind.__doc__}\n\n    Options, with their defaults: {options}.\n"
        f"    See :class:`pyro_vae.config.{kind.__name__}` and :func:`load`."
    )
    return function


digits = _set("digits")
diabetes = _set("diabetes")
ring = _set("ring")
grid = _set("grid")
mnist = _set("mnist")
fashion_mnist = _set("fashion-mnist")
static_mnist = _set("static-mnist")
omniglot = _set("omniglot")
freyfaces = _set("freyfaces")
cifar10 = _set("cifar10")
celeba = _set("celeba")
photo_patches = _set("photo-patches")
sprites = _set("sprites")
jsb_chorales = _set("jsb-chorales")
fsdd = _set("fsdd")
fsdd_waves = _set("fsdd-waves")
