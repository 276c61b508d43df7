r"""Builds a model from a recipe."""

from collections.abc import Mapping
from typing import Any

import torch

from ..config import Recipe, RelativeRecipe, allows_holes, is_chain, is_plain
from ..data import Split
from ..models import VAE
from ..precision import default_dtype
from ..randomness import apart
from .parts import build_likelihood, build_posterior, find_share, find_units, rows_from, sees_views
from .parts import class_of as class_of
from .parts import construct as construct
from .parts import num_outputs as num_outputs
from .parts import resolve_columns as resolve_columns
from .products import build_sites
from .relatives import build_relative as build_relative
from .sequences import build_chain


def build_vae(
    recipe: Recipe,
    x_shape: tuple[int, ...],
    scale: float,
    train: Split | None,
    num_data: int | None = None,
    known_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> VAE:
    r"""Builds the VAE that a recipe declares.

    Arguments:
        recipe: The validated recipe.
        x_shape: The shape of one datum.
        scale: The number that the encoder divides data by, so that they are about 0..1.
        train: The training data, for parameters that start at their statistics; without them
            (before a checkpoint is loaded) these start at zero.
        num_data: The number of training data, for parameters per datum; by default that of
            `train`.
        known_shapes: The shapes of additional inputs, by name; by default those of `train`.

    Raises:
        ValueError: The parts do not fit each other or the data.
    """
    double = recipe.train.precision == "float64"
    dtype = torch.float64 if double else torch.get_default_dtype()
    size = len(train) if train is not None else num_data
    with apart(torch.device("cpu"), recipe.seed), default_dtype(dtype):
        if is_chain(recipe):
            return build_chain(recipe, x_shape, scale, train)
        units = find_units(train, x_shape) if recipe.data.standardize else None
        if not is_plain(recipe):
            found = {} if train is None else {n: v.shape[1:] for n, v in train.known.items()}
            shapes = {"x": x_shape, **(found if known_shapes is None else known_shapes)}
            return build_sites(recipe, shapes, scale, train, units)
        recipe = recipe if train is None else resolve_columns(recipe, train)
        missing = allows_holes(recipe.likelihood, recipe.data) or sees_views(recipe)
        likelihood = build_likelihood(
            recipe.likelihood, recipe.latent_dim, x_shape, train, units, missing
        )
        known: dict[str, Any] = {"latent_dim": recipe.latent_dim}
        known["training_rows"] = rows_from(train, x_shape)
        shared = sees_views(recipe) and recipe.prior.kind in ("standard-normal", "normal")
        prior = construct(recipe.prior, known) if shared else None
        share = find_share(train, x_shape) if likelihood.missing else None
        posterior = build_posterior(recipe, x_shape, scale, share, size, units, prior)
        if prior is None:
            prior = construct(recipe.prior, {**known, "posterior": posterior})
        return VAE(prior, likelihood, posterior)


def build_model(
    recipe: Recipe | RelativeRecipe,
    x_shape: tuple[int, ...],
    scale: float,
    train: Split | None,
    *rest: Any,
) -> Any:
    r"""Builds what a recipe declares: by :func:`build_vae`, or :func:`build_relative`."""
    if isinstance(recipe, RelativeRecipe):
        return build_relative(recipe, x_shape, scale, train)
    return build_vae(recipe, x_shape, scale, train, *rest)


def find_device(name: str) -> torch.device:
    r"""Returns the device called `name`; ``"auto"`` is a GPU if there is one.

    Raises:
        ValueError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"Expected a device auto, cpu, cuda or cuda:N; got {name!r}.") from None
    if device.type == "mps":
        raise ValueError(
            "Expected a device auto, cpu, cuda or cuda:N; got mps. Sums over data are in double "
            "precision, which Apple's GPUs do not have. Use the CPU."
        )
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"Expected a device auto, cpu, cuda or cuda:N; got {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"Expected a GPU for device {name!r}; torch {torch.__version__} sees "
            f"{torch.cuda.device_count()}. Use --device cpu or auto."
        )
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())  # of a rank its own
    return device
