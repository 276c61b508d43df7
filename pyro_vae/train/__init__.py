r"""Training by stochastic variational inference.  (layer 6)"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyro
import torch

from .. import checkpoint
from ..checks import check_start, take, unit_warning
from ..config import Train, validate
from ..data import Dataset, as_split
from ..objectives import plan, planned
from ..precision import default_dtype
from ..programs import as_program, device_of, dtype_of, guide_name, is_vae
from ..randomness import apart, reseed
from .curve import rate_distortion_curve
from .optimizer import make_optimizer
from .run import History, NumericsError, Run
from .terminal import Bar, stop_signals

__all__ = ["History", "NumericsError", "fit", "make_optimizer", "rate_distortion_curve"]


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
    record: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    **options: Any,
) -> History:
    r"""Trains a VAE in place, on the device where its parameters are.

    Each step maximizes the bound that :func:`pyro_vae.objectives.plan` chose for a minibatch: data
    are gathered by index, binarized if they are to be, and the gradient is the mean over the
    actual batch. A step whose loss or gradient is not finite leaves the parameters alone.

    Arguments:
        vae: The VAE, or another module with a Pyro model and guide that takes `x` first.
        data: The training data, of shape `(N, *x_shape)`: a Split of :func:`pyro_vae.data.load`,
            a tensor or array, a DataFrame, a sparse matrix, a Dataset or DataLoader whose rows are
            `x` or `(x, label)`. Values are taken as they are. What the programs take besides is
            in a Split: ``pv.data.as_split(x, c=c)``.
        valid: Validation data; their ELBO is measured after every epoch.
        seed: Seeds the order of the data, the bits and the noise. Random numbers outside go on
            undisturbed.
        out: A folder for ``metrics.jsonl`` and checkpoints. With it, SIGINT and SIGTERM finish
            the step and save before they stop the process.
        resume: Continues from the newest checkpoint in `out`, bit for bit as if never stopped.
        overwrite: Replaces the run in `out`, which is deleted when the new one has its first
            checkpoint, and comes back if the new one fails before.
        progress: Shows a bar on a terminal, plain lines elsewhere.
        record: Anything JSON that is to stand in every checkpoint, such as the recipe.
        files: Texts to write into `out` besides, by name.
        options: The settings of :class:`pyro_vae.config.Train` by name: `epochs`, `batch_size`,
            `optimizer` (any of :mod:`torch.optim`), `lr`, `optimizer_options`, `schedule`,
            `warmup_epochs`, `cooldown_epochs`, `clip_norm`, `kl_weight`, `kl_warmup_epochs`,
            `kl_cycles`, `free_bits`, `capacity`, `capacity_epochs`, `estimator`, `alpha`,
            `baseline`, `final_temperature`, `temperature_epochs`, `kl`, `num_particles`,
            `patience`, `max_bad_steps`, `checkpoint_steps`, `compile`, `precision`, `skip_checks`.

    Returns:
        The history of training.

    Raises:
        ValueError: Options or data are wrong, or the estimator is unsound for this VAE; nothing
            has changed.
        NumericsError: Too many consecutive steps were not finite.
        CheckpointError: A checkpoint could not be written or read.
    """
    settings: Train = validate(options, Train)
    if not isinstance(vae, torch.nn.Module):
        raise ValueError(
            f"Expected fit(vae, data), the model first; got {type(vae).__name__} in its place."
        )
    folder = None if out is None else checkpoint.RunFolder(Path(out))
    if folder is not None and not resume:
        folder.check_free(overwrite)
    if settings.patience is not None and valid is None:
        raise ValueError("Expected validation data with patience; got none. Give `valid`.")
    if resume and out is None:
        raise ValueError("Expected a folder to resume from; got resume=True without `out`.")

    vae = as_program(vae)
    if is_vae(vae) and vae.posterior.index and valid is not None:
        raise ValueError(
            f"Expected no validation data with {guide_name(vae)}, which has no "
            "parameters for unseen rows; got some."
        )
    device = device_of(vae)
    skip = settings.skip_checks
    if settings.precision == "float64" and dtype_of(vae) is not torch.float64:
        raise ValueError(
            "Expected a model in double precision with precision='float64'; got one in "
            f"{dtype_of(vae)}. Call vae.double() first."
        )
    if isinstance(data, Dataset):
        raise ValueError(
            "Expected the rows to train on; got a whole data set. Give dataset.train, and "
            "valid=dataset.valid."
        )
    data = as_split(data, "training data")
    if "index" in data.known:
        raise ValueError(
            "Expected no row numbers among what is known of training data, whose rows fit numbers "
            "itself; got index. Leave it out."
        )
    train = take(vae, data, skip_checks=skip, source="training data")
    held_out = None
    if valid is not None:
        valid = as_split(valid, "validation data", data.columns)
        held_out = take(vae, valid, skip_checks=skip, source="validation data").freeze(seed)
    if not train.violation:
        check_start(vae, train)
        told = unit_warning(vae, train)
        if told is not None and not resume:
            warnings.warn(told, stacklevel=2)
    with apart(device, seed):  # networks of baselines start the same every time
        x, known = train.batch(slice(0, 2))
        chosen = plan(vae, x, known=known, **planned(settings))
    vae.columns = data.columns
    objective = chosen.objective.to(device)
    optimizer = make_optimizer(settings, vae, objective)
    if progress:
        print(chosen.why, file=sys.stderr)

    with contextlib.ExitStack() as stack:
        stack.enter_context(apart(device, seed))  # first: other threads wait here
        stack.enter_context(pyro.validation_enabled(False))  # checked above
        if settings.precision == "tf32" and device.type == "cuda":
            stack.enter_context(_tf32())
        stack.enter_context(default_dtype(dtype_of(vae)))
        run = Run(vae, objective, optimizer, settings, train, held_out, seed, record)
        if not resume:
            run.try_out()
            reseed(device, seed)
        if folder is not None:
            if resume:
                stack.enter_context(checkpoint.lock(folder.path))
            else:
                folder.open(stack, files or {}, overwrite)
            stack.callback(folder.failed)  # where there is no checkpoint at the end
            run.folder, run.on_save = folder.path, folder.saved
            if resume:
                run.restore()
                folder.write(files or {})
            run.stop = stack.enter_context(stop_signals())
        run.bar = stack.enter_context(Bar(progress, settings.epochs, run.steps_per_epoch))
        run.bar.stop = run.stop
        run.train()
    return run.history


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    r"""Lets float32 matrix products be computed in TF32, for a while."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
