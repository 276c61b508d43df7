r"""Flags that commands share, and the run and rows that they work on."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from ..config import Recipe, RelativeRecipe, override, read_recipe, validate
from ..runs import RunFolder
from .output import check_spares

if TYPE_CHECKING:
    from ..data import Split

Device = Annotated[str, arg(help="auto, cpu, cuda or cuda:N.")]
DataDir = Annotated[
    Path | None, arg(help="Folder of data sets (default: $PYRO_VAE_DATA, then a cache).")
]
SplitName = Literal["train", "valid", "test", "all"]


@dataclass(kw_only=True)
class Command:
    r"""A command: its fields are flags, its docstring is help, calling it runs it."""

    takes_settings: ClassVar[bool] = False
    """Whether it also takes the settings of a recipe as flags, which are passed to the call."""
    takes_relatives: ClassVar[bool] = False
    """Whether it works on relatives of the VAE, too."""

    def check_kind(self, recipe: Any) -> None:
        r"""Refuses a relative of the VAE, unless the command works on it."""
        if not self.takes_relatives:
            check_is_vae(recipe, f"pyro-vae {type(self).__name__.lower()}")


def check_is_vae(recipe: Any, what: str) -> None:
    r"""Refuses a relative of the VAE.

    Raises:
        ValueError: The recipe declares one.
    """
    if isinstance(recipe, RelativeRecipe):
        raise ValueError(
            f"Expected a VAE, as {what} asks for p(z), p(x | z) and q(z | x); got "
            f"{recipe.name}, whose model is {recipe.model.kind}, a relative. Those are taken "
            "by pyro-vae train, sweep, evaluate, compare, sample, encode, reconstruct and plot."
        )


@dataclass(kw_only=True)
class OnRun(Command):
    run: Positional[Path]
    """The folder of the run."""
    device: Device = "auto"

    def opened(self) -> RunFolder:
        r"""The run, unless the command would overwrite its data or those of --data."""
        run = RunFolder.open(self.run)
        self.check_kind(run.recipe)
        sources = [getattr(run.recipe.data, "path", None), getattr(self, "data", None)]
        check_spares(getattr(self, "out", None), *(s for s in sources if s is not None))
        return run


@dataclass(kw_only=True)
class OnRows(OnRun):
    split: SplitName = "test"
    """The split to use."""
    data_dir: DataDir = None

    def rows(self, run: RunFolder, vae: Any) -> "tuple[Split, str, str]":
        r"""The selected rows, and the names of data and split."""
        from ..checks import take

        data = getattr(self, "data", None)
        split, name, which = run.rows(self.split, data, self.data_dir)
        split = self._numbered(vae, split.forgetting(vae.latents), data)
        return take(vae, split, skip_checks=run.recipe.train.skip_checks), name, which

    def _numbered(self, vae: Any, split: "Split", data: str | None) -> "Split":
        r"""The split with row numbers of the training data, for posteriors that need them."""
        import torch

        from ..programs import guide_name, wants_rows

        if not wants_rows(vae):
            return split
        if self.split != "train" or data is not None:
            raise ValueError(
                f"Expected training data, as {guide_name(vae)} has no parameters for others; got "
                f"{self.split} data. Use --split train."
            )
        return split.knowing(index=torch.arange(len(split)))


@dataclass(kw_only=True)
class OnAnyRows(OnRows):
    split: SplitName = "test"
    """The split to use; all rows of a file without splits."""
    data: str | None = None
    """A data set by name, or a file; by default the run's own data."""


@dataclass(kw_only=True)
class OnRecipe(Command):
    takes_settings: ClassVar[bool] = True

    recipe: Positional[str]
    """A name from `pyro-vae list`, or a TOML file. Settings are flags, as in `train`."""

    def declared(self, flags: dict[str, Any]) -> Recipe:
        r"""The recipe with the settings from flags."""
        recipe = validate(override(read_recipe(self.recipe), flags))
        self.check_kind(recipe)
        return recipe

    def built(self, flags: dict[str, Any], data_dir: Path | None) -> "tuple[Recipe, Any, Split]":
        r"""The recipe, the VAE that it declares, and its training data."""
        from .. import data
        from ..build import build_vae
        from ..checks import telling_holes

        recipe = self.declared(flags)
        train = data.load(recipe.data, data_dir, quiet=True).train
        vae = build_vae(recipe, train.x_shape, train.scale, train)
        return recipe, vae, telling_holes(vae, train)


def keys_of(split: "Split") -> dict[str, Any]:
    r"""Columns for joining metrics with the user's file: row numbers, labels and their names."""
    import numpy as np

    keys: dict[str, Any] = {"rows": split.row_numbers.cpu().numpy()}
    if split.labels is not None:
        labels = split.labels.cpu().numpy()
        keys["labels"] = labels
        if split.classes and labels.dtype.kind == "i":
            names = np.array([*split.classes, ""])
            keys["label_names"] = names[np.where(labels < 0, len(split.classes), labels)]
    return keys


def mean(metrics: dict[str, Any], name: str) -> str:
    r"""A mean with its standard error, which is unknown for a single datum."""
    error = metrics[f"{name}_se"]
    known = error is not None and isfinite(error)
    return f"{metrics[name]:10.3f} +- " + (f"{error:.3f}" if known else "unknown for one datum")
