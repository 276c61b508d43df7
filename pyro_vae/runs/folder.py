r"""The folder of a run, from which recipe, data, model and metrics are read."""

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


class Recorded(NamedTuple):
    r"""The record of a run in a checkpoint."""

    recipe: Any
    data: dict[str, Any]
    x_shape: tuple[int, ...]
    scale: float
    epochs: int
    stopped_early: bool

    @property
    def form(self) -> dict[str, Any]:
        r"""The form of the training data (:meth:`pyro_vae.data.Dataset.form`)."""
        return self.data.get("form", {})


class RunFolder(Place):
    r"""A run: the folder that a training writes and from which everything about it is read.

    Arguments:
        path: The folder, which need not exist yet.

    Example:
        >>> RunFolder("runs/nowhere").metrics()
        []
    """

    # --- Finding runs ---------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        r"""Returns a run of a recipe; reports if config.toml differs from what was trained.

        Raises:
            ValueError: There is no run, or it has no recipe.
            CheckpointError: It has no complete checkpoint.
        """
        run = cls(path)
        some = (run.path / CHECKPOINTS).is_dir() or (run.path / CONFIG).exists()
        if not run.path.is_dir() or not some:
            raise ValueError(f"Expected the folder of a run, with {CONFIG}; got {run.path}.")
        if changed := run.edits():
            print(
                f"{run.path / CONFIG} differs from what the checkpoint records: "
                f"{'; '.join(changed)}. The settings of the checkpoint are used.",
                file=sys.stderr,
            )
        return run

    @classmethod
    def below(cls, folder: Path) -> "list[RunFolder]":
        r"""Returns the runs of recipes in a folder, sorted by name."""
        return [cls(path.parent) for path in sorted(folder.glob(f"*/{CONFIG}"))]

    @classmethod
    def newest(cls, name: str | None = None, folder: Path = Path("runs")) -> "RunFolder":
        r"""Returns the newest run in a folder, of the recipe called `name` or of any recipe.

        Raises:
            ValueError: There is no such run.
        """
        named = [(run, run.written().get("name")) for run in cls.below(folder)]
        found = [run for run, its in named if its is not None and name in (None, its)]
        if not found:
            of = f" of {name!r}" if name else ""
            raise ValueError(f"Expected a run{of} below {folder}/ to resume; found none.")
        return max(found, key=lambda run: (run.path / CONFIG).stat().st_mtime)

    # --- Contents -------------------------------------------------------------------------------

    @cached_property
    def recorded(self) -> Recorded:
        r"""The record in the newest checkpoint.

        Raises:
            ValueError: The run has no recipe.
            CheckpointError: There is no complete checkpoint, or its contents are not as expected.
        """
        source, _, state = self.read()
        return self.record_in(source, state)

    def record_in(self, source: Path, state: Mapping[str, Any]) -> Recorded:
        r"""Returns the record in the state of the checkpoint `source`."""
        with storage.understood(source):
            record, position = state["record"], state["position"]
            if not record:
                reason = state.get("undeclared")
                vae = f", vae=vae) with the VAE that you build, as {reason}" if reason else ")"
                raise ValueError(
                    f"Expected a run of a recipe; got {self.path}, which was written without one. "
                    f"In Python, use pv.load({str(self.path)!r}{vae}."
                )
            recipe, epochs = validate(record["recipe"]), position["epoch"]
            shape, data = tuple(record["x_shape"]), {**record["data"]}
            stopped = position["finished"] and epochs < recipe.train.epochs
            return Recorded(recipe, data, shape, record["scale"], epochs, stopped)

    @property
    def recipe(self) -> Any:
        r"""The recipe that was trained, regardless of later edits of config.toml."""
        return self.recorded.recipe

    @property
    def title(self) -> str:
        r"""The title of plots of this run."""
        return f"{self.path}, recipe {self.recipe.name}, epoch {self.recorded.epochs}"

    def read(self) -> tuple[Path, dict[str, dict[str, Any]], dict[str, Any]]:
        r"""Returns the path of the newest complete checkpoint, its tensors and its state."""
        source = storage.newest(self.path)
        return source, *storage.read(source)

    def written(self) -> dict[str, Any]:
        r"""The values in config.toml, not validated; empty if it cannot be read."""
        try:
            return read_recipe(self.path / CONFIG)
        except ValueError:
            return {}

    def edits(self) -> list[str]:
        r"""The differences between config.toml and the recipe that was trained."""
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
        r"""Checks that a recipe continues this training.

        Raises:
            ValueError: Something other than the number of epochs and the device differs.
        """
        changed = differences(settings_of(self.recipe), settings_of(recipe))
        if changed := [d for d in changed if not d.startswith(("train.epochs ", "device "))]:
            raise ValueError(
                f"Expected the training in {self.path}; got a different one: "
                f"{'; '.join(changed)}. Only train.epochs and device may change."
            )

    def model(self, device: str = "auto", *, vae: Any = None) -> Any:
        r"""Returns the trained model, as :func:`pyro_vae.load` does."""
        from .model import load_model

        return load_model(self, device, vae)

    def dataset(self, data_dir: Path | None = None, *splits: str) -> "Dataset":
        r"""Loads the data again, and checks that they are those of training.

        Arguments:
            data_dir: Where to look first.
            splits: The splits that must be unchanged; by default all.

        Raises:
            ValueError: The data are not there, or have changed.
        """
        from .data import dataset_of

        return dataset_of(self, data_dir, *splits)

    def rows(
        self, split: str, data: str | None = None, data_dir: Path | None = None
    ) -> "tuple[Split, str, str]":
        r"""Returns rows, and the names of their data and split.

        Arguments:
            split: The split; ``"all"`` is every row.
            data: Another known data set, or a file that is read as the run's was; by default the
                run's own data.
            data_dir: Where to look first.

        Raises:
            ValueError: Data or split are not there, or the run's own data have changed.
        """
        from .data import rows_of

        return rows_of(self, split, data, data_dir)

    # --- Metrics --------------------------------------------------------------------------------

    def metrics(self) -> list[dict[str, Any]]:
        r"""Returns the rows of metrics.jsonl."""
        return read_metrics(self.path / METRICS)

    def append(self, *rows: Mapping[str, Any], size: int | None = None) -> int:
        r"""Appends rows to metrics.jsonl.

        Arguments:
            rows: The rows.
            size: The bytes before them; what is behind, such as part of a row, is cut off.

        Returns:
            The new size in bytes.

        Raises:
            CheckpointError: They could not be written. What is before them is intact.
        """
        path = self.path / METRICS
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        with storage.explained(f"Expected to write {path}", "Free some space."):
            self.path.mkdir(parents=True, exist_ok=True)  # somebody may have deleted it
            with path.open("a+b") as file:
                if size is not None:
                    file.truncate(size)
                file.write(text)
            return path.stat().st_size

    def cut_metrics(self, size: int) -> None:
        r"""Truncates metrics.jsonl to its size at a checkpoint."""
        with (self.path / METRICS).open("a+b") as file:
            file.truncate(min(size, file.tell()))

    def metrics_size(self) -> int:
        r"""The size of metrics.jsonl in bytes; 0 if there is no such file."""
        path = self.path / METRICS
        return path.stat().st_size if path.is_file() else 0

    def evaluations(self) -> dict[str, Any]:
        r"""Returns the results of evaluation on the run's own data, by split."""
        try:
            return json.loads((self.path / EVALUATIONS).read_text(encoding="utf-8"))
        except (ValueError, OSError):
            return {}

    def keep_evaluation(self, split: str, metrics: Mapping[str, Any]) -> None:
        r"""Stores the results of evaluation on a split, unless earlier ones used more samples.

        If the folder is not writable, nothing is stored.
        """
        stored, samples = self.evaluations(), "num_importance_samples"
        known, epochs = stored.get(split, {}), self.recorded.epochs
        if known.get("epochs") == epochs and known.get(samples, 0) > metrics.get(samples, 0):
            return
        with contextlib.suppress(OSError):
            self.write(
                {EVALUATIONS: to_json({**stored, split: {**metrics, "epochs": epochs}}) + "\n"}
            )

    def summary(self) -> dict[str, Any]:
        r"""Returns a row for a table of runs, from its files but without its tensors."""
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
            for name in ("elbo", "score"):
                if name in found:
                    row["valid"] = f"{found[name]:.3f} +- {found[f'{name}_se'] or 0:.3f}"
        test = self.evaluations().get("test", {})
        for name in ("log_marginal", "log_prob"):
            if name in test:
                row["test"] = f"{test[name]:.3f} +- {test[f'{name}_se'] or 0:.3f}"
        row["verdict"] = test.get("verdict", test.get("light"))  # in older runs
        return row


def load(run: str | os.PathLike[str], device: str = "auto", *, vae: Any = None) -> Any:
    r"""Returns the model of a run, or the VAE that :func:`pyro_vae.save` wrote, to evaluate.

    With early stopping it has the parameters of the best epoch, else the newest ones.

    Arguments:
        run: The folder of the run.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        vae: The model to load into, where the folder does not say how it was made: one with
            classes of your own.

    Raises:
        ValueError: The run holds a different model, or `vae` is needed.
        CheckpointError: The run has no complete checkpoint.
    """
    return RunFolder(run).model(device, vae=vae)


def save(vae: Any, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    r"""Saves a VAE in a folder, from which :func:`pyro_vae.load` returns it.

    Saved are parameters, buffers and the columns of its table; and how it was made, if all of it
    are classes of this package and of :mod:`torch.nn`. Of a VAE with a class of your own only the
    values are saved: ``pv.load(folder, vae=vae)`` then wants a VAE that you make as before.

    Arguments:
        vae: The VAE.
        folder: A folder that holds no run; it is made.
        overwrite: Whether to replace the run that the folder holds.

    Raises:
        ValueError: The folder holds a run, or files that no run wrote.
        CheckpointError: It could not be written.

    Example:
        >>> import tempfile, pyro_vae as pv
        >>> q = pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [8], 4))
        >>> p = pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], 5))
        >>> vae = pv.VAE(pv.priors.StandardNormal(2), p, q)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(vae, folder)
        ...     type(pv.load(folder).prior).__name__
        'StandardNormal'
    """
    from .saved import write_model

    write_model(vae, folder, overwrite)


def load_recipe(run: str | os.PathLike[str]) -> Any:
    r"""Returns the recipe of a run, from its newest checkpoint."""
    return RunFolder(run).recipe
