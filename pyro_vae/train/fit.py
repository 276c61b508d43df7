r"""Training of a model: settings and data are checked before it starts."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from inspect import signature
from math import isfinite
from types import MappingProxyType
from typing import Any, Literal

import pyro
import torch

from ..checks import check_start, take, unit_warning
from ..config import Train, check_relative_training, validate
from ..data import Dataset, Split, as_split, fingerprint
from ..gallery import Relative
from ..nn import views_of
from ..objectives import Objective, Plan, plan, planned
from ..objectives.aggregate import Aggregate
from ..precision import default_dtype
from ..programs import (
    as_program,
    device_of,
    dtype_of,
    guide_name,
    is_scored,
    is_vae,
    undisturbed,
)
from ..randomness import apart, reseed
from ..ranks import here, launch, restarted
from ..runs import RunFolder
from .history import Callback, History
from .optimizer import make_optimizer
from .resume import restore
from .run import Run, normalizes

LAUNCH = ".launch"  # names the torchrun whose ranks have begun a run


def fit(
    vae: Any,
    data: Any,
    *,
    valid: Any = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    record: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    epochs: int = 40,
    batch_size: int = 100,
    optimizer: str = "Adam",
    lr: float = 1e-3,
    optimizer_options: Mapping[str, Any] = MappingProxyType({}),
    schedule: Literal["constant", "cosine", "stages"] = "constant",
    warmup_epochs: float = 0.0,
    cooldown_epochs: float = 0.0,
    clip_norm: float | None = None,
    kl_weight: float = 1.0,
    kl_warmup_epochs: float = 0.0,
    kl_cycles: int = 1,
    free_bits: float = 0.0,
    free_bits_per: Literal["feature", "site"] = "feature",
    capacity: float | None = None,
    capacity_epochs: float = 0.0,
    estimator: str | Mapping[str, Any] = "auto",
    alpha: float = 0.5,
    baseline: Literal["average", "neural", "none"] = "average",
    supervision: float = 0.0,
    label_visits: int = 1,
    tc_weight: float = 6.0,
    mi_weight: float = 1.0,
    dimension_weight: float = 1.0,
    tc_sampling: Literal["stratified", "weighted"] = "stratified",
    mmd_weight: float = 100.0,
    mmd_width: float = 1.0,
    drop_views: float = 0.0,
    final_temperature: float | None = None,
    temperature_epochs: float = 0.0,
    kl: Literal["closed-form", "sampled"] = "closed-form",
    num_particles: int = 1,
    patience: int | None = None,
    max_bad_steps: int = 10,
    skip_checks: bool = False,
    compile: Literal["auto", "yes", "no"] = "auto",  # noqa: A002
    precision: Literal["float32", "float64", "tf32", "bfloat16"] = "float32",
    checkpoint_steps: int | None = None,
) -> History:
    r"""Trains a VAE, or a relative of it, in place, on the device of its parameters.

    Each step maximizes the bound that :func:`pyro_vae.objectives.plan` chose on a minibatch: data
    are gathered by index and, if set, binarized; the gradient is the mean over the actual batch.
    A step whose loss or gradient is not finite does not change the parameters. A relative
    (:class:`pyro_vae.gallery.Relative`) says itself what a step is.

    Arguments:
        vae: The VAE, another module with a Pyro model and guide that takes `x` first, or a
            relative.
        data: The training data, of shape `(N, *x_shape)`: a Split of :func:`pyro_vae.data.load`,
            a tensor or array, a DataFrame, a sparse matrix, a Dataset or DataLoader whose rows are
            `x` or `(x, label)`. Values are not rescaled. Use a Split for additional inputs:
            ``pv.data.as_split(x, c=c)``.
        valid: Validation data; their ELBO, or the score of a relative, is measured after every
            epoch.
        seed: Seeds the order of the data, the bits and the noise. Random
            generators outside are not affected.
        out: A folder for ``metrics.jsonl`` and checkpoints. With it, SIGINT, SIGTERM and SIGHUP
            finish the step and save before they stop the process.
        resume: Continues from the newest checkpoint in `out`, bit for bit as if never stopped.
        overwrite: Replaces the run in `out`, which is deleted when the new one has its first
            checkpoint, and restored if the new one fails before.
        progress: Shows a bar on a terminal, plain lines elsewhere.
        callbacks: Objects that follow training, such as :class:`pyro_vae.train.Callback`.
        record: JSON metadata stored in every checkpoint, such as the recipe.
        files: Texts to write into `out`, by name.
        epochs: Passes over the training data.
        batch_size: Data per step.
        optimizer: Any optimizer of :mod:`torch.optim`, by name.
        lr: The peak learning rate.
        optimizer_options: Other arguments of the optimizer, such as `weight_decay`.
        schedule: The learning rate stays constant; falls to zero along a half cosine; or falls to
            a tenth in eight stages, each three times as long as the one before
            (:func:`pyro_vae.train.stages`).
        warmup_epochs: Epochs in which the learning rate rises linearly from zero.
        cooldown_epochs: Final epochs in which the learning rate falls linearly to zero.
        clip_norm: Gradients with a larger norm are scaled down to it.
        kl_weight: The weight of the KL term (beta); 1 is the ELBO.
        kl_warmup_epochs: Epochs in which the weight of the KL term rises linearly from zero.
        kl_cycles: Number of such rises, each over half a cycle; the cycles fill
            `kl_warmup_epochs`.
        free_bits: Nats below which the KL term of a latent feature is not penalized.
        free_bits_per: Whether `free_bits` applies to each latent feature or to each latent site.
        capacity: Target of the KL term in nats, instead of zero; `kl_weight` penalizes the
            distance to it.
        capacity_epochs: Epochs in which the capacity rises linearly from zero.
        estimator: The estimator of bound and gradient, by name or as a table with its options;
            ``"auto"`` lets the planner choose.
        alpha: The order of the Renyi bound.
        baseline: The baseline of the score function: a running mean, a network, or none.
        supervision: The weight of :math:`\log q(y \mid x)` where a latent `y` is known,
            for estimators of the ELBO.
        label_visits: How often an epoch visits each datum whose latent `y` is known; the others
            once.
        tc_weight: The weight of the total correlation, for ``"beta-tcvae"`` and ``"factor-vae"``;
            1 is the ELBO.
        mi_weight: The weight of the mutual information, for ``"beta-tcvae"``.
        dimension_weight: The weight of the dimension-wise KL, for ``"beta-tcvae"``.
        tc_sampling: How ``"beta-tcvae"`` estimates the aggregate posterior from a minibatch.
        mmd_weight: The weight of the distance of aggregate posterior and prior, for
            ``"info-vae"``; `kl_weight` is that of the KL term.
        mmd_width: The width of its kernel, in units of the root of the number of features.
        drop_views: The probability that a step does not see a view of a datum, one of which
            always stays: so experts also learn what they say alone.
        final_temperature: Final temperature of relaxed families.
        temperature_epochs: Epochs in which the temperature falls geometrically to it.
        kl: The KL term: exact if a closed form is known, or from the samples of `z`.
        num_particles: Samples of `z` per datum and step.
        patience: Stops after this many epochs without a better validation ELBO, and keeps the
            best epoch.
        max_bad_steps: Stops after this many consecutive steps whose loss or gradient is not
            finite.
        skip_checks: Trains on data outside the likelihood's support, too; metrics are then not
            densities.
        compile: Whether steps run as one compiled graph; ``"auto"`` does so for 10,000 steps or
            more, from the 1001st on: the compiler works while the first ones are taken.
        precision: ``"float64"`` is for a model in double precision. Only for matrix products:
            ``"tf32"`` on a GPU, ``"bfloat16"`` by autocast; evaluation then is float32.
        checkpoint_steps: Steps between checkpoints within an epoch, at most one per second.

    Returns:
        The history of training.

    Raises:
        ValueError: Settings or data are wrong, or the estimator is unsound for this VAE; nothing
            has been changed.
        NumericsError: Too many consecutive steps were not finite.
        CheckpointError: A checkpoint could not be written or read.
    """
    settings, ranks = _settings(locals()), here()
    resume = resume or (out is not None and goes_on(RunFolder(out), overwrite))
    folder = _free_folder(out, resume, overwrite)
    progress &= ranks.rank == 0
    with ranks.agreed():
        run = make_run(
            vae, data, valid, settings, seed, folder, record, callbacks, progress, warn=not resume
        )
    if not ranks.alone:
        held_out = "" if run.valid is None else fingerprint(run.valid)
        given = f"{run.fingerprint} {held_out} {settings.model_dump_json()} {seed}"
        remedy = "Call fit with the same arguments at each."
        ranks.compare(sha256(given.encode()).hexdigest()[:8], "data and settings", remedy)
    ranks.hand_out([*run.vae.state_dict().values(), *run.objective.state_dict().values()])
    with surroundings(run.vae, settings, seed):
        return _carried_out(run, resume, overwrite, files or {})


def make_run(
    vae: Any,
    data: Any,
    valid: Any,
    settings: Train,
    seed: int,
    folder: RunFolder | None,
    record: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    warn: bool = False,
) -> Run:
    r"""Checks a model, its data and the settings, and returns the training that they make."""
    vae = _checked_program(vae, settings, valid, callbacks)
    check_ranks(vae, settings)
    if isinstance(vae, Relative):
        with surroundings(vae, settings, seed):
            return _own_run(vae, data, valid, settings, seed, folder, record, callbacks, progress)
    train = _training_data(vae, data, settings, warn=warn)
    held_out = _validation_data(vae, valid, train, settings, seed)
    chosen = _planned(vae, train, settings, seed)
    vae.columns = train.columns
    check_objective_of_ranks(chosen.objective)
    objective = chosen.objective.to(device_of(vae))
    programs = (vae, objective, make_optimizer(settings, vae, objective), settings)
    if progress:
        print(chosen.why, file=sys.stderr)
    with surroundings(vae, settings, seed):
        return Run(*programs, train, held_out, seed, folder, record, callbacks, progress)


def _own_run(
    model: Relative, data: Any, valid: Any, settings: Train, seed: int, *rest: Any
) -> Run:
    r"""The training of a relative, which needs no plan."""
    train = take(model, _rows(data), skip_checks=settings.skip_checks, source="training data")
    held_out = _validation_data(model, valid, train, settings, seed)
    with undisturbed(model, seed):
        loss = float(model.loss(train.rows(slice(0, 2))).mean())
    if not isfinite(loss) and not train.violation:
        raise ValueError(f"Expected a finite loss at the start; got {loss} on the first rows.")
    model.columns = train.columns  # type: ignore[assignment]
    optimizer = make_optimizer(settings, model)
    return Run(model, torch.nn.Module(), optimizer, settings, train, held_out, seed, *rest)  # type: ignore[arg-type]


def _carried_out(run: Run, resume: bool, overwrite: bool, files: Mapping[str, str]) -> History:
    r"""Carries out a run, in its folder if it has one, and returns its history."""
    ranks, folder = here(), run.folder
    if not resume or not ranks.alone:
        with ranks.agreed():
            run.try_out()
        reseed(device_of(run.vae), ranks.seed(run.seed))
    if folder is None:
        return run.train()
    with contextlib.ExitStack() as stack:
        held = folder.held(resume=resume, overwrite=overwrite)
        ranks.by_first(lambda: stack.enter_context(held))
        if resume:
            restore(run)
        elif not ranks.alone:
            ranks.by_first(partial(folder.write, {LAUNCH: launch()}))
        ranks.by_first(partial(folder.write, files))
        return run.train()


def goes_on(folder: RunFolder, overwrite: bool) -> bool:
    r"""Whether torchrun has restarted ranks that had a checkpoint of this training."""
    if not restarted():
        return False
    path = folder.path / LAUNCH
    own = path.is_file() and path.read_text(encoding="utf-8") == launch()
    return here().first(folder.holds_training and (own or not overwrite))


def _free_folder(
    out: str | os.PathLike[str] | None, resume: bool, overwrite: bool
) -> RunFolder | None:
    r"""The folder of the run, which must be free unless the run is resumed."""
    if out is None:
        if resume:
            raise ValueError("Expected a folder to resume from; got resume=True without `out`.")
        return None
    folder = RunFolder(out)
    if not resume:
        here().by_first(partial(folder.check_free, overwrite))
    return folder


def _settings(given: Mapping[str, Any]) -> Train:
    r"""The settings among the arguments of :func:`fit` that differ from their defaults."""
    defaults = {name: p.default for name, p in signature(fit).parameters.items()}
    names = [name for name in Train.model_fields if given[name] is not defaults[name]]
    return validate({name: given[name] for name in names}, Train)


def _checked_program(vae: Any, settings: Train, valid: Any, callbacks: Any) -> Any:
    r"""The model, if it can be trained with these settings."""
    if not isinstance(vae, torch.nn.Module):
        raise ValueError(
            f"Expected fit(vae, data), the model first; got one of type {type(vae).__name__}."
        )
    if settings.patience is not None and valid is None:
        raise ValueError("Expected validation data with patience; got none. Pass valid=.")
    if not all(hasattr(callback, "on_row") for callback in callbacks):
        raise ValueError(f"Expected objects of pyro_vae.train.Callback; got {callbacks!r}.")
    if isinstance(vae, Relative):
        check_relative_training(settings)
    else:
        vae = as_program(vae)
    if is_vae(vae) and vae.posterior.index and valid is not None:
        raise ValueError(
            f"Expected no validation data with {guide_name(vae)}, which has no "
            "parameters for unseen rows; got some."
        )
    if settings.drop_views and not (views_of(vae) and (not is_vae(vae) or vae.likelihood.missing)):
        raise ValueError(
            "Expected a posterior that sees views (ProductOfExperts of pv.nn.Views) and a "
            f"likelihood of data with holes with drop_views; got {guide_name(vae)}. Leave "
            "drop_views out."
        )
    if settings.precision == "float64" and dtype_of(vae) is not torch.float64:
        raise ValueError(
            "Expected a model in double precision with precision='float64'; got one in "
            f"{dtype_of(vae)}. Call vae.double() first."
        )
    return vae


def check_ranks(vae: Any, settings: Train) -> None:
    r"""Refuses what ranks cannot train together.

    Raises:
        ValueError: A batch has fewer rows than there are ranks, or a network normalizes over it.
    """
    count = here().count
    if settings.batch_size < count:
        raise ValueError(
            f"Expected a batch_size of at least one row for each of {count} ranks; got "
            f"{settings.batch_size}. It is that of all ranks together."
        )
    if count > 1 and normalizes(vae):
        raise ValueError(
            f"Expected networks whose rows do not depend on each other, among {count} ranks; got "
            "one with BatchNorm, which would see a part of the batch. Use LayerNorm, or one "
            "process."
        )
    if count > 1 and isinstance(vae, Relative):
        raise ValueError(
            f"Expected a VAE or a Pyro program among {count} ranks; got one of pv.gallery. Train "
            "it by one process."
        )


def check_objective_of_ranks(objective: Objective) -> None:
    r"""Refuses objectives that are no means over data, among several ranks."""
    if not here().alone and isinstance(objective, Aggregate):
        raise ValueError(
            f"Expected an objective that is a mean over data, among {here().count} ranks; got "
            f"{type(objective).__name__}, whose penalty is of whole batches. Use one process."
        )


def _rows(data: Any) -> Split:
    if isinstance(data, Dataset):
        raise ValueError(
            "Expected the rows to train on; got a whole data set. Pass dataset.train, and "
            "valid=dataset.valid."
        )
    return as_split(data, "training data")


def _training_data(vae: Any, data: Any, settings: Train, warn: bool) -> Split:
    split = _rows(data)
    if "index" in split.known:
        raise ValueError(
            "Expected no row numbers among the additional inputs, as fit numbers the rows itself; "
            "got index. Leave it out."
        )
    skip = settings.skip_checks
    mapped = not isinstance(split.stored, torch.Tensor)
    part = here().part(len(split)) if mapped and not skip else None  # ranks read a large file once
    train = take(vae, split, skip_checks=skip, source="training data", part=part)
    if not train.violation:
        check_start(vae, train)
        if warn and (warning := unit_warning(vae, train)):
            warnings.warn(warning, stacklevel=4)
    return train


def _validation_data(
    vae: Any, valid: Any, train: Split, settings: Train, seed: int
) -> Split | None:
    if valid is None:
        return None
    split = as_split(valid, "validation data", train.columns)
    skip = settings.skip_checks
    return take(vae, split, skip_checks=skip, source="validation data").freeze(seed)


def _planned(vae: Any, train: Split, settings: Train, seed: int) -> Plan:
    with apart(device_of(vae), seed):  # networks of baselines always start the same
        x, known = train.batch(slice(0, 2))
        return plan(vae, x, known=known, **planned(settings))


def held_out_rows(vae: Any, valid: Split | None) -> tuple[Split | None, str]:
    r"""The rows for the validation of a recipe's model, which is not given latent variables that
    are known; or none, and why."""
    if is_vae(vae) and vae.posterior.index:
        return None, "this posterior has parameters only for its training data"
    if is_vae(vae) and not is_scored(vae):
        return None, "a point instead of q(z | x) has no ELBO"
    if valid is None:
        return None, "there are no rows for it"
    return valid.forgetting(vae.latents), ""


@contextlib.contextmanager
def surroundings(vae: Any, settings: Train, seed: int) -> Iterator[None]:
    r"""Sets random numbers, checks and precision for a training, and restores them after it."""
    device, own = device_of(vae), default_dtype(dtype_of(vae))
    tf32 = settings.precision == "tf32" and device.type == "cuda"
    products = _tf32() if tf32 else contextlib.nullcontext()
    with apart(device, seed), pyro.validation_enabled(False), own, products:
        yield


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    r"""Computes float32 matrix products in TF32 inside the context."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
