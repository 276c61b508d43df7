r"""The parts of a model, from kinds to objects.

A class receives, by the names of its arguments, the options of its kind and what the recipe
knows: ``latent_dim``, ``event_dim``, the networks, the posterior, pseudo-inputs.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Likelihood, Posterior
from ..config import REGISTRY, Kind, Recipe
from ..data import Split, moments
from ..likelihoods.location_scale import LocationScale
from ..nn import Divide, Observed, Standardize

Units = tuple[Tensor, Tensor]


def find_units(train: Split | None, x_shape: tuple[int, ...]) -> Units:
    r"""Returns mean and standard deviation of each element of the training data; an element that
    is constant keeps its unit. Before a checkpoint is loaded they are 0 and 1."""
    if train is None:
        return torch.zeros(x_shape), torch.ones(x_shape)
    mean, spread = moments(train)
    dtype = torch.get_default_dtype()
    return mean.to(dtype), torch.where(spread > 0, spread, 1.0).to(dtype)


def resolve_columns(recipe: Recipe, train: Split) -> Recipe:
    r"""Returns the recipe with numbers in the place of the names of a table's columns.

    Raises:
        ValueError: The data have no such column.
    """
    if getattr(recipe.likelihood, "kind", "sites") != "product":
        return recipe
    names = tuple(column.name for column in train.columns)
    parts = tuple(
        part.model_copy(update={"columns": tuple(_column(c, names) for c in part.columns)})
        for part in recipe.likelihood.parts
    )
    likelihood = recipe.likelihood.model_copy(update={"parts": parts})
    return recipe.model_copy(update={"likelihood": likelihood})


def _column(column: int | str, names: tuple[str, ...]) -> int:
    if isinstance(column, int):
        return column
    if column not in names:
        told = ", ".join(names) or "without names"
        raise ValueError(f"Expected one of the columns of the data ({told}); got {column!r}.")
    return names.index(column)


def build_posterior(
    recipe: Recipe,
    x_shape: tuple[int, ...],
    scale: float,
    missing: bool,
    num_data: int | None,
    units: "Units | None" = None,
) -> Posterior:
    r"""Builds the posterior: an encoder, or an embedding with a row for every datum, inside."""
    kind, latent_dim = recipe.posterior, recipe.latent_dim
    if kind.kind == "per-datum":
        if num_data is None:
            raise ValueError("Expected training data, whose every row has parameters; got none.")
        family: Any = REGISTRY["posterior"][kind.family]()
        embedding = nn.Embedding(num_data, family.num_outputs(latent_dim))
        inner = construct(family, {"encoder": embedding, "latent_dim": latent_dim})
        return construct(kind, {"family": inner})

    if missing and len(x_shape) != 1:
        raise ValueError(f"Expected rows of a table for holes in data; got x of shape {x_shape}.")
    encoder = construct(
        kind.encoder,
        {
            "in_features": (2 * x_shape[0],) if missing else x_shape,
            "out_features": kind.num_outputs(latent_dim),
        },
        target=kind.encoder.encoder,
    )
    if missing:
        encoder = nn.Sequential(Observed(), encoder)
    if units is not None:
        encoder = nn.Sequential(Standardize(*units), encoder)
    elif scale != 1:
        encoder = nn.Sequential(Divide(scale), encoder)
    return construct(kind, {"encoder": encoder, "latent_dim": latent_dim})


def build_likelihood(
    kind: Any,
    latent_dim: int,
    x_shape: tuple[int, ...],
    train: Split | None,
    units: "Units | None" = None,
) -> Likelihood:
    r"""Builds a likelihood and its decoder, or one for each group of columns."""
    known = None if train is None else moments(train)
    if kind.kind != "product":
        return _likelihood(kind, latent_dim, x_shape, known, units)
    size = sum(len(part.columns) for part in kind.parts)
    if x_shape != (size,):
        taken = {column for part in kind.parts for column in part.columns}
        names = [] if train is None else [column.name for column in train.columns]
        left = [name for j, name in enumerate(names) if j not in taken]
        which = f"; {', '.join(map(repr, left[:20]))} are in none" if left else ""
        raise ValueError(
            f"Expected the parts of the likelihood to have all columns of x, of shape {x_shape}; "
            f"got {size} columns{which}. Give them a part, or leave them out by --data.drop."
        )
    known_names = () if train is None else tuple(column.name for column in train.columns)
    parts = []
    for part in kind.parts:
        columns = [_column(column, known_names) for column in part.columns]
        if max(columns) >= size:
            raise ValueError(f"Expected columns below {size}; got {max(columns)}.")
        start, unit = (
            None if both is None else (both[0][columns], both[1][columns])
            for both in (known, units)
        )
        shape = (len(columns),)
        parts.append((columns, _likelihood(part.likelihood, latent_dim, shape, start, unit)))
    return construct(kind, {"decoder": nn.Identity(), "parts": parts})


def _likelihood(
    kind: Any,
    latent_dim: int,
    x_shape: tuple[int, ...],
    start: "Units | None",
    units: "Units | None",
) -> Likelihood:
    decoder = build_decoder(kind, latent_dim, x_shape)
    return start_likelihood(kind, decoder, x_shape, start, units)


def build_decoder(kind: Any, in_features: int, x_shape: tuple[int, ...]) -> nn.Module:
    r"""Builds the network of a likelihood."""
    shape = (kind.num_outputs * x_shape[0], *x_shape[1:])
    known = {"in_features": in_features, "out_features": shape}
    return construct(kind.decoder, known, target=kind.decoder.decoder)


def start_likelihood(
    kind: Any,
    decoder: nn.Module,
    x_shape: tuple[int, ...],
    start: "Units | None",
    units: "Units | None",
) -> Likelihood:
    r"""Builds a likelihood whose parameters start at mean and standard deviation of the data."""
    likelihood = construct(kind, {"decoder": decoder, "event_dim": len(x_shape)})
    if units is not None and isinstance(likelihood, LocationScale):
        likelihood.standardize(*units)
        if start is not None:
            start = ((start[0] - units[0]) / units[1], start[1] / units[1])
    bias: Any = getattr(decoder, "output_bias", None)
    if start is not None and bias is not None and kind.output_bias == "data-mean":
        start_at_mean(bias, likelihood, start[0])
    if start is not None and getattr(kind, "scale", 1.0) is None:
        start_at_spread(likelihood, start[1])
    return likelihood


def construct(kind: Kind, known: Mapping[str, Any], target: str | None = None) -> Any:
    r"""Calls the class that `kind` stands for, with its options and what it asks of `known`."""
    module, _, name = (target or kind.target).rpartition(".")
    cls = getattr(import_module(module), name)
    options = {key: getattr(kind, key) for key in type(kind).model_fields if key not in known}
    parameters = inspect.signature(cls).parameters
    return cls(**{k: v for k, v in {**options, **known}.items() if k in parameters})


def start_at_mean(output_bias: Tensor, likelihood: Likelihood, data_mean: Tensor) -> None:
    r"""Sets a decoder's output bias so that :math:`p(x \mid z)` starts at the mean of the data.

    The likelihood's link takes means to outputs. Means of bits are kept inside [0.001, 0.999], as
    they may be 0 or 1, and means of counts above 0.001.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), the authors' code
        | https://arxiv.org/abs/1509.00519
    """
    start = data_mean.flatten()
    highest = float(getattr(likelihood.support, "upper_bound", 1.0))
    match likelihood.link:
        case "none":
            return
        case "log":
            start = start.clamp(min=1e-3).log()
        case "logit":
            start = (start / highest).clamp(1e-3, 1 - 1e-3).logit()
        case "centred":
            start = 2 * start / highest - 1
    bias = output_bias.view(-1)
    copies = getattr(likelihood, "num_components", 1)  # each component starts there
    with torch.no_grad():
        for i in range(copies):
            bias[i * len(start) : (i + 1) * len(start)].copy_(start)


def start_at_spread(likelihood: Any, spread: Tensor) -> None:
    r"""Sets learned sigmas to the standard deviation of the data, of each element or of all.

    Elements that are constant get that of the others, and all of them 1 where all are constant.
    """
    if likelihood.sigma not in ("shared", "per-column", "optimal"):
        return
    whole = (
        spread[spread > 0].square().mean().sqrt() if (spread > 0).any() else spread.new_ones(())
    )
    start = whole if likelihood.log_scale.dim() == 0 else torch.where(spread > 0, spread, whole)
    with torch.no_grad():
        likelihood.log_scale.copy_(start.log())


def choose_rows(train: Split | None, count: int, x_shape: tuple[int, ...]) -> Tensor:
    r"""Returns `count` training data drawn without replacement, of shape `(count, *x_shape)`."""
    if train is None:
        return torch.zeros(count, *x_shape)
    if count > len(train):
        raise ValueError(
            f"Expected at most as many pseudo-inputs as training data, {len(train)}; got {count}. "
            "Lower --prior.num-components."
        )
    return train.rows(torch.randperm(len(train))[:count])
