r"""The folder of a run, and all that is known of the run by it: recipe, data, model, metrics."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import Recipe, read_recipe, validate
from . import storage
from .place import CHECKPOINTS, CONFIG, EVALUATIONS, METRICS, Place
from .records import differences, read_metrics, settings_of, to_json

if TYPE_CHECKING:
    from ..data import Dataset, Split
    from ..models import VAE


class Recorded(NamedTuple):
    r"""What a checkpoint says of its run."""

    recipe: Recipe
    data: dict[str, Any]
    x_shape: tuple[int, ...]
    scale: float
    epochs: int
    stopped_early: bool


class RunFolder(Place):
    r"""A run: the folder that a training writes, and that everything about it is read from.

    Arguments:
        path: The folder, which need not exist yet.

    Example:
        >>> RunFolder("runs/nowhere").metrics()
        []
    """

    # --- Which runs there are -------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        r"""Returns a run of a recipe; says so where config.toml differs from what was trained.

        Raises:
            ValueError: There is no run, or it has no recipe.
            CheckpointError: It has no whole checkpoint.
        """
        run = cls(path)
        some = (run.path / CHECKPOINTS).is_dir() or (run.path / CONFIG).exists()
        if not run.path.is_dir() or not some:
            raise ValueError(f"Expected the folder of a run, with {CONFIG}; got {run.path}.")
        if changed := run.edits():
            print(
                f"{run.path / CONFIG} differs from what the checkpoint records: "
                f"{'; '.join(changed)}. The checkpoint's own settings are taken.",
                file=sys.stderr,
            )
        return run

    @classmethod
    def below(cls, folder: Path) -> "list[RunFolder]":
        r"""Returns the runs of recipes in a folder, by name."""
        return [cls(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))]

    @classmethod
    def newest(cls, name: str | None = None, folder: Path = Path("runs")) -> "RunFolder":
        r"""Returns the newest run in a folder, of the recipe called `name` or of any.

        Raises:
            ValueError: There is none.
        """
        named = [(run, run.written().get("name")) for run in cls.below(folder)]
        found = [run for run, its in named if its is not None and name in (None, its)]
        if not found:
            of = f" of {name!r}" if name else ""
            raise ValueError(f"Expected a run{of} below {folder}/ to resume; found none.")
        return max(found, key=lambda run: (run.path / CONFIG).stat().st_mtime)

    # --- What a run says ------------------------------------------------------------------------

    @cached_property
    def recorded(self) -> Recorded:
        r"""What the newest checkpoint says.

        Raises:
            ValueError: The run has no recipe.
            CheckpointError: There is no whole checkpoint, or it has other contents.
        """
        source, _, state = self.read()
        return self.record_in(source, state)

    def record_in(self, source: Path, state: Mapping[str, Any]) -> Recorded:
        r"""Returns what the state of the checkpoint `source` says."""
        with storage.understood(source):
            record, position = state["record"], state["position"]
            if not record:
                raise ValueError(
                    f"Expected a run of a recipe; got {self.path}, which fit() made without one. "
                    f"In Python, pv.load({str(self.path)!r}, vae=vae) loads it into the VAE that "
                    "you build."
                )
            recipe, epochs = validate(record["recipe"]), position["epoch"]
            shape, data = tuple(record["x_shape"]), {**record["data"]}
            stopped = position["finished"] and epochs < recipe.train.epochs
            return Recorded(recipe, data, shape, record["scale"], epochs, stopped)

    @property
    def recipe(self) -> Recipe:
        r"""The recipe that was trained, whatever config.toml says now."""
        return self.recorded.recipe

    @property
    def title(self) -> str:
        r"""What a plot says of the run that it shows."""
        return f"{self.path}, recipe {self.recipe.name}, epoch {self.recorded.epochs}"

    def read(self) -> tuple[Path, dict[str, dict[str, Any]], dict[str, Any]]:
        r"""Returns where the newest whole checkpoint is, its tensors and its state."""
        source = storage.newest(self.path)
        return source, *storage.read(source)

    def written(self) -> dict[str, Any]:
        r"""The values in config.toml, not validated; none where it cannot be read."""
        try:
            return read_recipe(self.path / CONFIG)
        except ValueError:
            return {}

    def edits(self) -> list[str]:
        r"""How config.toml differs from the recipe that was trained."""
        trained = settings_of(self.recipe)
        if not (self.path / CONFIG).is_file():
            return [f"{CONFIG} is gone"]
        try:
            written = settings_of(validate(read_recipe(self.path / CONFIG)))
        except ValueError as error:
            return [str(error).splitlines()[0]]
        changed = differences(trained, written)
        return [line for line in changed if not line.startswith("train.epochs ")]  # resumed since

    def check_same(self, recipe: Recipe) -> None:
        r"""Makes sure that a recipe goes on with this training.

        Raises:
            ValueError: More differs than the number of epochs and the device.
        """
        changed = differences(settings_of(self.recipe), settings_of(recipe))
        if changed := [d for d in changed if not d.startswith(("train.epochs ", "device "))]:
            raise ValueError(
                f"Expected the training that {self.path} holds; got another one: "
                f"{'; '.join(changed)}. Only train.epochs and device may change."
            )

    def model(self, device: str = "auto", *, vae: Any = None) -> "VAE":
        r"""Returns the trained VAE, as :func:`pyro_vae.load` does."""
        from .model import load_model

        return load_model(self, device, vae)

    def dataset(self, data_dir: Path | None = None, *splits: str) -> "Dataset":
        r"""Loads the data again, and makes sure that they are those of training.

        Arguments:
            data_dir: Where to look first.
            splits: Which splits have to be the same; all by default.

        Raises:
            ValueError: The data are not there, or are others.
        """
        from .data import dataset_of

        return dataset_of(self, data_dir, *splits)

    def rows(
        self, split: str, data: str | None = None, data_dir: Path | None = None
    ) -> "tuple[Split, str, str]":
        r"""Returns rows, and what their data and split are called.

        Arguments:
            split: The split; ``"all"`` is every row.
            data: Another known set, or a file that is read as the run's was; the run's own data
                by default.
            data_dir: Where to look first.

        Raises:
            ValueError: Data or split are not there, or the run's own data have changed.
        """
        from .data import rows_of

        return rows_of(self, split, data, data_dir)

    # --- What was measured ----------------------------------------------------------------------

    def metrics(self) -> list[dict[str, Any]]:
        r"""Returns the rows of metrics.jsonl."""
        return read_metrics(self.path / METRICS)

    def append(self, row: Mapping[str, Any]) -> int:
        r"""Appends a row to metrics.jsonl, and returns how many bytes there are then."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            return file.tell()

    def cut_metrics(self, size: int) -> None:
        r"""Cuts metrics.jsonl to the bytes that there were at a checkpoint."""
        with (self.path / METRICS).open("a+b") as file:
            file.truncate(size)

    def evaluations(self) -> dict[str, Any]:
        r"""Returns what evaluation found of the run's own data, by split."""
        try:
            return json.loads((self.path / EVALUATIONS).read_text(encoding="utf-8"))
        except (ValueError, OSError):
            return {}

    def keep_evaluation(self, split: str, metrics: Mapping[str, Any]) -> None:
        r"""Keeps what evaluation found of a split, unless more samples found another before.

        Where nothing can be written, evaluation goes on without.
        """
        kept, samples = self.evaluations(), "num_importance_samples"
        known, epochs = kept.get(split, {}), self.recorded.epochs
        if known.get("epochs") == epochs and known.get(samples, 0) > metrics[samples]:
            return
        with contextlib.suppress(OSError):
            self.write(
                {EVALUATIONS: to_json({**kept, split: {**metrics, "epochs": epochs}}) + "\n"}
            )

    def summary(self) -> dict[str, Any]:
        r"""Returns a row for a table of runs, of what its files say without its tensors."""
        row: dict[str, Any] = {"run": str(self.path)}
        row |= dict.fromkeys(("recipe", "data", "epochs", "valid", "test", "verdict"))
        values = self.written()
        try:
            row |= {"recipe": values["name"], "data": values["data"]["kind"]}
            if row["data"] == "file":
                row["data"] = Path(values["data"]["path"]).name
        except (KeyError, TypeError):
            row["recipe"] = "not readable"
        for found in self.metrics():
            row["epochs"] = found.get("epoch", row["epochs"])
            if "elbo" in found:
                row["valid"] = f"{found['elbo']:.3f} +- {found['elbo_se'] or 0:.3f}"
        if test := self.evaluations().get("test"):
            row["test"] = f"{test['log_marginal']:.3f} +- {test['log_marginal_se'] or 0:.3f}"
            row["verdict"] = test.get("verdict", test.get("light"))  # in older runs
        return row


def load(run: str | os.PathLike[str], device: str = "auto", *, vae: Any = None) -> "VAE":
    r"""Returns the trained VAE of a run, in evaluation mode.

    With early stopping these are the parameters of the best epoch, else the newest ones.

    Arguments:
        run: The folder of the run.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        vae: The VAE to load into, for a run of your own `fit` that no recipe describes.

    Raises:
        ValueError: The run holds another model, or `vae` is needed.
        CheckpointError: The run has no whole checkpoint.
    """
    return RunFolder(run).model(device, vae=vae)


def load_recipe(run: str | os.PathLike[str]) -> Recipe:
    r"""Returns the recipe of a run, from its newest checkpoint."""
    return RunFolder(run).recipe
