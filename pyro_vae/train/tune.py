r"""The search for settings: each trial is one combination, trained with several seeds."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..config import (
    Recipe,
    RelativeRecipe,
    checked_seeds,
    points_of,
    probes,
    read_space,
    short_names,
    validate,
)
from ..config.space import Space, as_json
from ..data import Dataset, load
from ..ranks import here
from ..runs.records import settings_of
from ..statistics import Mean
from .many import Trained, own_recipe, own_settings, train_points
from .study import Outcome, Search, import_optuna

SAMPLERS = ("tpe", "random")


@dataclass
class Trial:
    r"""One combination of values that was trained with several seeds.

    Attributes:
        number: Its number, from zero on.
        values: The values of the settings that are searched, by dotted key.
        valid_elbo: The mean over seeds of the validation ELBO in nats per datum, with its
            standard error; None if the trial failed.
        seeds: The validation ELBO of each seed; None for one that stopped.
        error: Why the trial failed, if it did.
        folders: The folders of its runs, if there are any.
        seconds: How long it took.
    """

    number: int
    values: dict[str, Any]
    valid_elbo: Mean | None = None
    seeds: dict[int, float | None] = field(default_factory=dict)
    error: str | None = None
    folders: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def name(self) -> str:
        r"""Its number and values."""
        return f"trial={self.number},{described(self.values)}"


def tune(
    model: Any,
    data: Any = None,
    *,
    search: Mapping[str, Any],
    trials: int = 20,
    valid: Any = None,
    seeds: Iterable[int] = (0, 1, 2),
    storage: str | None = None,
    sampler: str = "tpe",
    out: str | os.PathLike[str] | None = None,
    data_dir: Path | None = None,
    together: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[Trial]:
    r"""Searches for the settings with the largest validation ELBO.

    A trial trains one combination of values with every seed, as :func:`pyro_vae.fit_many` does:
    in one step where models are small. Its objective is the mean over the seeds
    :math:`s = 1, \ldots, S`,

    .. math:: \frac{1}{S} \sum_s \mathrm{ELBO}_s,

    in nats per datum, with the standard error :math:`s / \sqrt{S}`. A trial of which a seed
    diverges, or whose values do not go together, fails, and the search goes on.

    Several processes or machines with one storage share the trials, and a search that was
    interrupted goes on when it is called again. A trial whose process gives no sign of life for a
    minute is taken up by another, from its last checkpoint if `out` is a folder that both see.

    References:
        | Algorithms for Hyper-Parameter Optimization (Bergstra et al., 2011), Sec. 4
        | Optuna: A Next-generation Hyperparameter Optimization Framework (Akiba et al., 2019)
        | https://arxiv.org/abs/1907.10902

    Arguments:
        model: A recipe, or a function that makes a VAE, as in :func:`pyro_vae.fit_many`.
        data: The training data; by default those of the recipe.
        search: For each setting, by dotted key, a range or choices:
            ``{"train.lr": "1e-4..1e-2 log", "latent_dim": "2..32", "prior.kind": ["vamp"]}``.
            Numbers are whole if both ends are.
        trials: How many trials there are, those of all processes and of earlier calls together.
        valid: Validation data; by default those of the recipe.
        seeds: The seeds of each trial. The first one also seeds the sampler.
        storage: A database by its URL, such as ``sqlite:///study.db``; by default ``study.db`` in
            `out`, or memory.
        sampler: ``"tpe"``, tree-structured Parzen estimators after ten random trials; or
            ``"random"``.
        out: A folder for the runs.
        data_dir: The folder of data sets.
        together: At most how many models share a step.
        progress: Prints a line for each trial.
        settings: Settings of training, as in :func:`pyro_vae.fit`.

    Returns:
        The trials, in their order.

    Raises:
        ValueError: Optuna is not installed, a range or setting is wrong, or the storage holds a
            different search; nothing has been trained.

    Example:
        >>> import pyro_vae as pv
        >>> pv.tune("digits", search={"latent_dim": "32..2"})
        Traceback (most recent call last):
        ValueError: Expected a range from a number to a larger one for latent_dim; got 32..2.
    """
    here().refuse("tune")
    space, seeds = read_space(search), checked_seeds(seeds)
    if trials < 1 or sampler not in SAMPLERS:
        raise ValueError(
            f"Expected trials of at least 1 and a sampler among {', '.join(SAMPLERS)}; got "
            f"{trials} and {sampler!r}."
        )
    import_optuna()
    declared = _checked(model, settings, space) | {"seeds": seeds}
    data = _with_data(model, data, valid, settings, data_dir)
    if storage is None and out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{Path(out) / 'study.db'}"
    study = Search(storage, "search", space, trials, sampler, seeds[0], declared)
    best: list[float] = []

    def carry_out(number: int, values: dict[str, Any]) -> Outcome:
        points, start = points_of(_short(values), seeds, f"trial={number}"), time.perf_counter()
        points = [point._replace(values=values) for point in points]
        options: dict[str, Any] = {
            "out": out,
            "data_dir": data_dir,
            "together": together,
            "progress": False,
        }
        why: str | None
        try:
            models = train_points(model, data, points, settings, valid=valid, **options)
            why = _why_failed(models)
        except ValueError as error:  # values that do not go together
            models, why = [], str(error)
        outcome = _outcome(values, models, why, time.perf_counter() - start)
        if progress:
            _show(number, outcome, best)
        return outcome

    study.work(carry_out)
    return [_trial(number, row) for number, row in study.finished().items()]


def _checked(model: Any, settings: Mapping[str, Any], space: Space) -> dict[str, Any]:
    r"""Refuses values that no combination of the space admits, and declares the search."""
    made = callable(model)

    def check(values: Mapping[str, Any]) -> Any:
        if made:
            return own_settings(model, values, settings)
        return vae_recipe(model, settings, values)

    for _, _, combinations in probes(space):
        wrong: ValueError | None = None
        for values in combinations:
            try:
                check(values)
                break
            except ValueError as error:
                wrong = wrong or error
        else:
            raise wrong or ValueError("Expected values; got none.")
    base = dict(settings) if made else settings_of(vae_recipe(model, settings))
    known = {key: value for key, value in base.items() if key not in ("device", "seed")}
    return json.loads(json.dumps({"settings": known, "search": as_json(space)}, default=str))


def vae_recipe(
    model: Any, settings: Mapping[str, Any], values: Mapping[str, Any] | None = None
) -> Recipe:
    r"""The recipe of these values, which is that of a VAE."""
    recipe = validate(own_recipe(model, settings, values))
    if isinstance(recipe, RelativeRecipe):
        raise ValueError(
            f"Expected a VAE, as a search maximizes its validation ELBO; got {recipe.name}, "
            f"whose model is {recipe.model.kind}. Use pyro-vae sweep."
        )
    return recipe


def _with_data(
    model: Any, data: Any, valid: Any, settings: Mapping[str, Any], data_dir: Path | None
) -> Any:
    r"""The data of all trials, which must have a part for validation."""
    if data is None and not callable(model):
        recipe = vae_recipe(model, settings)
        data = load(recipe.data, data_dir, quiet=True)
    if data is None:
        raise ValueError("Expected data with a function that makes a VAE; got none.")
    if valid is None and not (isinstance(data, Dataset) and data.valid is not None):
        raise ValueError("Expected validation data for a search; got none. Pass valid=.")
    return data


def _why_failed(models: list[Trained]) -> str | None:
    r"""Why a trial failed, if it did."""
    for trained in models:
        if trained.error is not None:
            return f"seed {trained.seed} stopped: {trained.error}"
        if trained.valid_elbo is None:
            return f"seed {trained.seed} has no validation ELBO"
    return None


def _outcome(
    values: dict[str, Any], models: list[Trained], why: str | None, seconds: float
) -> Outcome:
    r"""What is kept of a trial."""
    record = {
        "values": values,
        "seeds": {str(one.seed): None if one.error else one.valid_elbo for one in models},
        "folders": [str(one.folder) for one in models if one.folder is not None],
        "seconds": seconds,
    }
    bounds = [one.valid_elbo for one in models if one.valid_elbo is not None]
    return Outcome(None if why else sum(bounds) / len(bounds), why, record)


def _trial(number: int, row: Any) -> Trial:
    r"""A trial from what the storage keeps of it."""
    record, error = row.user_attrs["record"], row.user_attrs.get("error")
    seeds = {int(seed): bound for seed, bound in record["seeds"].items()}
    mean = None if error else Mean.of(torch.tensor([*seeds.values()], dtype=torch.double))
    folders = [Path(path) for path in record["folders"]]
    return Trial(number, record["values"], mean, seeds, error, folders, record["seconds"])


def _short(values: Mapping[str, Any]) -> dict[str, Any]:
    r"""Values as they stand in names."""
    return {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in values.items()}


def described(values: Mapping[str, Any]) -> str:
    r"""Values for people.

    Example:
        >>> described({"train.lr": 0.0012345678, "prior.kind": "vamp"})
        'lr=0.001235,prior=vamp'
    """
    names = short_names([*values])
    return ",".join(f"{n}={v}" for n, v in zip(names, _short(values).values()))


def _show(number: int, outcome: Outcome, best: list[float]) -> None:
    r"""Prints a line for a trial."""
    name = Trial(number, outcome.record["values"]).name
    if outcome.value is None:
        print(f"{name}  failed: {outcome.error}", flush=True)
        return
    bounds = torch.tensor([*outcome.record["seeds"].values()], dtype=torch.double)
    note = "  best so far" if not best or outcome.value > max(best) else ""
    best.append(outcome.value)
    print(f"{name}  validation ELBO {Mean.of(bounds)}{note}", flush=True)
