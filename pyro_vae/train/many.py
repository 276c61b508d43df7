r"""Training of many models: every combination of some settings, with several seeds."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ..build import build_model, find_device, resolve_columns
from ..config import (
    Point,
    Recipe,
    RelativeRecipe,
    Train,
    grid_points,
    override,
    read_recipe,
    validate,
)
from ..data import Dataset, Split, as_split, load
from ..randomness import apart
from ..ranks import alone, here
from ..runs import RunFolder
from ..runs.records import declaration
from .fit import held_out_rows, make_run, surroundings
from .group import Group, can_share, group_size
from .history import History
from .run import Run

FREE = (
    "lr", "schedule", "warmup_epochs", "cooldown_epochs", "kl_weight", "kl_warmup_epochs",
    "kl_cycles", "capacity_epochs", "temperature_epochs", "final_temperature", "capacity",
    "epochs", "patience", "max_bad_steps", "checkpoint_steps",
)  # fmt: skip
r"""Settings of training that may differ between models that share a step."""


@dataclass
class Trained:
    r"""One of many models that were trained.

    Attributes:
        name: Its settings and seed.
        values: The settings of the grid.
        seed: The seed.
        vae: The model.
        history: Its metrics.
        error: Why it stopped before its end, if it did.
        folder: The folder of its run, if there is one.
        valid_elbo: The validation ELBO of the parameters that it has, in nats per datum; of a
            relative its score.
    """

    name: str
    values: dict[str, Any]
    seed: int
    vae: Any
    history: History
    error: Exception | None = None
    folder: Path | None = None
    valid_elbo: float | None = None


@dataclass
class _Plan:
    r"""A model to train: its point, itself, its data, its settings and its declaration."""

    point: Point
    build: Callable[[], Any]
    train: Any
    valid: Any
    settings: Train
    declared: Mapping[str, Any]


def fit_many(
    model: str | os.PathLike[str] | Mapping[str, Any] | Recipe | Callable[..., Any],
    data: Any = None,
    *,
    valid: Any = None,
    seeds: Iterable[int] = (0, 1, 2, 3, 4),
    grid: Mapping[str, Sequence[Any]] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    data_dir: Path | None = None,
    together: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> list[Trained]:
    r"""Trains many models: every combination of the grid's values, with every seed.

    Models of one shape share one recorded step, which moves all of them: each has its own order
    of the data, draws, learning rate, weight of the KL term, temperature and end, and becomes
    what :func:`pyro_vae.fit` with its seed makes of it, up to rounding. One that diverges stops
    alone. Relatives (:class:`pyro_vae.gallery.Relative`) are trained one after the other.

    Arguments:
        model: A recipe: a name, a TOML file, or its values. Or a function that makes a model, and
            gets those settings of the grid that are not of training; random numbers are seeded
            before it is called.
        data: The training data, as in :func:`pyro_vae.fit`, or a whole data set; by default those
            of the recipe.
        valid: Validation data.
        seeds: The seeds.
        grid: The values of each setting, by dotted key, as in ``{"train.lr": [1e-3, 3e-3]}``.
        out: A folder for the runs. Those that are there are complete or continue where they were
            interrupted.
        overwrite: Replaces the runs in `out`.
        data_dir: The folder of data sets.
        together: At most how many models share a step; by default a rule decides.
        progress: Shows lines on how far training is.
        settings: Settings of training, as in :func:`pyro_vae.fit`.

    Returns:
        The models, the seeds of one setting after one another.

    Raises:
        ValueError: A setting or the data are wrong. The first model of every group is made and
            checked before any is trained.

    Example:
        >>> import pyro_vae as pv
        >>> def make(width=8):
        ...     encoder, decoder = pv.nn.MLP(6, [width], 4), pv.nn.MLP(2, [width], 6)
        ...     prior, likelihood = pv.priors.StandardNormal(2), pv.likelihoods.Bernoulli(decoder)
        ...     return pv.VAE(prior, likelihood, pv.posteriors.MeanFieldNormal(encoder))
        >>> x = (torch.rand(64, 6) < 0.5).float()
        >>> rates = {"train.lr": [1e-3, 1e-2]}
        >>> models = fit_many(make, x, seeds=[0, 1], grid=rates, epochs=1, progress=False)
        >>> [trained.name for trained in models][:2]
        ['lr=0.001,seed=0', 'lr=0.001,seed=1']
    """
    points = grid_points(grid or {}, seeds)
    return train_points(
        model,
        data,
        points,
        settings,
        valid=valid,
        out=out,
        overwrite=overwrite,
        data_dir=data_dir,
        together=together,
        progress=progress,
    )


def train_points(
    model: Any,
    data: Any,
    points: Sequence[Point],
    settings: Mapping[str, Any],
    *,
    valid: Any = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    data_dir: Path | None = None,
    together: int | None = None,
    progress: bool = True,
) -> list[Trained]:
    r"""Trains the model of each point, each rank some of them by itself; the arguments are those
    of :func:`fit_many`."""
    if together is not None and together < 1:
        raise ValueError(f"Expected together of at least 1; got {together}.")
    if isinstance(model, torch.nn.Module):
        raise ValueError("Expected a recipe, or a function that makes a VAE; got a VAE itself.")
    if callable(model):
        plans = _of_function(model, points, data, valid, settings)
    else:
        plans = _of_recipe(model, points, data, valid, settings, data_dir)
    folders = [RunFolder(Path(out) / p.point.name) if out is not None else None for p in plans]
    found: dict[int, Trained] = {}
    groups = _alike(plans)
    ranks = here()
    own = ranks.own(range(len(plans)))
    with ranks.agreed(), alone():
        for group in groups[1:]:
            _run_of(plans[group[0]], None, None)  # what is wrong is said before training begins
        for group in groups:
            mine = [i for i in group if i in own]
            found |= _train(mine, plans, folders, overwrite, together, progress)
    return _of_all_ranks(plans, found)


def _of_all_ranks(plans: Sequence[_Plan], found: dict[int, Trained]) -> list[Trained]:
    r"""All models, of which each rank has trained some."""
    ranks = here()
    if not ranks.alone:
        told = {i: (t.vae.state_dict(), replace(t, vae=None)) for i, t in found.items()}
        for part in ranks.gather(tree_map_only(Tensor, Tensor.cpu, told)):
            for i in part.keys() - found.keys():
                tensors, trained = part[i]
                vae = plans[i].build()
                vae.load_state_dict(tensors)
                found[i] = replace(trained, vae=vae)
    return [found[i] for i in range(len(plans))]


def _of_function(
    make: Callable[..., Any], points: Sequence[Point], data: Any, valid: Any, settings: Any
) -> list[_Plan]:
    r"""What to train, of a function that makes a VAE."""
    if data is None:
        raise ValueError("Expected data with a function that makes a VAE; got none.")
    plans = []
    for point in points:
        own, chosen = own_settings(make, point.values, settings)

        def build(point: Point = point, own: dict[str, Any] = own) -> Any:
            cpu = torch.device("cpu")
            with apart(cpu, point.seed):
                return make(**own)

        plans.append(_Plan(point, build, data, valid, chosen, {}))
    return plans


def own_settings(
    make: Callable[..., Any], values: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], Train]:
    r"""The values that a function takes, and the settings of training with the others.

    Raises:
        ValueError: The function does not take them, or a setting of training is wrong.
    """
    own = {k: v for k, v in values.items() if not k.startswith("train.")}
    ours = {k.removeprefix("train."): v for k, v in values.items() if k not in own}
    try:
        signature(make).bind(**own)
    except TypeError as error:
        raise ValueError(
            f"Expected settings that the function takes ({error}); got {', '.join(own)}. "
            "Settings of training are written train.lr."
        ) from None
    return own, validate({**settings, **ours}, Train)


def own_recipe(
    model: Any, settings: Mapping[str, Any], values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    r"""The values of a recipe, with settings of training and dotted keys in their place."""
    if isinstance(model, Recipe):
        model = model.model_dump(mode="json")
    elif not isinstance(model, Mapping):
        model = read_recipe(model)
    return override(model, {**{f"train.{n}": v for n, v in settings.items()}, **(values or {})})


def _of_recipe(
    model: Any,
    points: Sequence[Point],
    data: Any,
    valid: Any,
    settings: Mapping[str, Any],
    data_dir: Path | None,
) -> list[_Plan]:
    r"""What to train, of a recipe."""
    values = own_recipe(model, {})
    loaded: dict[str, Dataset] = {}
    if data is not None and not isinstance(data, Dataset):
        data = as_split(data, "training data")
    if valid is not None:
        valid = as_split(valid, "validation data")
    plans = []
    for point in points:
        recipe = validate(own_recipe(values, settings, {**point.values, "seed": point.seed}))
        dataset = data
        if data is None:
            key = recipe.data.model_dump_json()
            dataset = loaded[key] = loaded.get(key) or load(recipe.data, data_dir, quiet=True)
        train, held_out, declared = dataset, valid, {}
        if isinstance(dataset, Dataset):
            recipe = resolve_columns(recipe, dataset.train)
            train, held_out = dataset.train, dataset.valid if valid is None else valid
            declared = declaration(recipe, dataset)

        def build(recipe: Recipe | RelativeRecipe = recipe, rows: Split = train) -> Any:
            vae = build_model(recipe, rows.x_shape, rows.scale, rows)
            return vae.to(find_device(recipe.device))

        plans.append(_Plan(point, build, train, held_out, recipe.train, declared))
    return plans


def _alike(plans: Sequence[_Plan]) -> list[list[int]]:
    r"""Sorts models into those that can share a step, which differ in free settings only."""
    groups: dict[Any, list[int]] = {}
    for i, plan in enumerate(plans):
        settings, values = plan.settings, plan.point.values
        rest = settings.model_dump(mode="json", exclude=set(FREE))
        free = {f"train.{name}" for name in FREE}
        fixed = {key: value for key, value in values.items() if key not in free}
        kinds = [settings.capacity is None, settings.final_temperature is None]
        key = json.dumps([rest, fixed, kinds], default=str, sort_keys=True)
        groups.setdefault((id(plan.train), key), []).append(i)
    return list(groups.values())


def _train(
    group: Sequence[int],
    plans: Sequence[_Plan],
    folders: Sequence[RunFolder | None],
    overwrite: bool,
    together: int | None,
    progress: bool,
) -> dict[int, Trained]:
    r"""Trains models that can share a step, as many at a time as it is best."""
    done: dict[int, Trained] = {}
    size, waiting = 0, list(group)
    while waiting:
        runs: list[Run] = []
        while waiting[len(runs) :] and len(runs) < (size or 1):
            i = waiting[len(runs)]
            runs.append(_run_of(plans[i], folders[i], runs[0] if runs else None))
            size = together if together and can_share(runs[:1]) else group_size(runs[0])
        check_own_parameters(runs)
        chosen, waiting = waiting[: len(runs)], waiting[len(runs) :]
        names = [plans[i].point.name for i in chosen]
        if progress:
            print(f"Training {', '.join(names)}.", file=sys.stderr)
        outcomes = _carried_out([plans[i] for i in chosen], runs, overwrite, progress)
        for i, run, outcome in zip(chosen, runs, outcomes):
            point, path = plans[i].point, None if run.folder is None else run.folder.path
            error = outcome if isinstance(outcome, Exception) else None
            bounds, bound = run.history[run.measured.score], run.position.best_elbo
            if bound is None or error is not None:
                bound = bounds[-1] if bounds and error is None else None
            done[i] = Trained(*point, run.vae, run.history, error, path, bound)
    return done


def _run_of(plan: _Plan, folder: RunFolder | None, other: Run | None) -> Run:
    r"""The training of a model; its rows are those of another, if there is one."""
    vae, settings, seed = plan.build(), plan.settings, plan.point.seed
    data, valid = plan.train if other is None else other.data, plan.valid
    if plan.declared:
        valid, _ = held_out_rows(vae, valid)
        if valid is None:
            settings = settings.model_copy(update={"patience": None})
    return make_run(vae, data, valid, settings, seed, folder, plan.declared.get("record"))


def check_own_parameters(runs: Sequence[Run]) -> None:
    r"""Refuses models that share parameters."""
    own = [{id(p) for p in run.vae.parameters() if p.requires_grad} for run in runs]
    if len(set().union(*own)) < sum(map(len, own)):
        raise ValueError(
            "Expected a function that makes all of a model anew; got models that share parameters."
        )


def _carried_out(
    plans: Sequence[_Plan], runs: Sequence[Run], overwrite: bool, progress: bool
) -> list[History | Exception]:
    r"""Carries out the training of a group, each in its folder if it has one."""
    together = Group([*runs], [plan.point.name for plan in plans], progress, len(runs) > 1)
    resumed = [bool(r.folder and r.folder.holds_training and not overwrite) for r in runs]
    first = runs[0]
    with ExitStack() as stack, surroundings(first.vae, first.settings, first.seed):
        for plan, run, resume in zip(plans, runs, resumed):
            if run.folder is not None:
                stack.enter_context(run.folder.held(resume=resume, overwrite=overwrite))
                run.folder.write(plan.declared.get("files", {}))
        return together.train(resumed)
