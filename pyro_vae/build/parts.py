r"""Builds the parts of a model from kinds.

A class receives the options of its kind and, by the names of its arguments, values that follow
from the recipe: ``latent_dim``, ``event_dim``, the networks, the posterior, the training data.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from ..base import Likelihood, Posterior, Prior
from ..config import Kind, Recipe, RelativeRecipe
from ..data import Split, moments, places_of, share_there
from ..likelihoods import MissingAtRandom
from ..likelihoods.location_scale import LocationScale
from ..nn import Divide, Observed, Standardize
from ..registration import maker_of

Units = tuple[Tensor, Tensor]


def find_units(train: Split | None, x_shape: tuple[int, ...]) -> Units:
    r"""Returns mean and standard deviation of each element of the training data, with 1 for
    constant elements. Before a checkpoint is loaded they are 0 and 1."""
    if train is None:
        return torch.zeros(x_shape), torch.ones(x_shape)
    mean, spread = moments(train)
    dtype = torch.get_default_dtype()
    return mean.to(dtype), torch.where(spread > 0, spread, 1.0).to(dtype)


def find_share(train: Split | None, x_shape: tuple[int, ...]) -> Tensor:
    r"""Returns the share of the training data in which an element is there; before a checkpoint is
    loaded it is 1."""
    share = torch.ones(x_shape) if train is None else share_there(train)
    return share.to(torch.get_default_dtype())


def resolve_columns(recipe: Any, train: Split) -> Any:
    r"""Returns the recipe with column numbers instead of the names of a table's columns.

    Raises:
        ValueError: The data have no such column.
    """
    if isinstance(recipe, RelativeRecipe):
        return recipe
    names = tuple(column.name for column in train.columns)
    likelihood, posterior = recipe.likelihood, recipe.posterior
    if getattr(likelihood, "kind", "sites") == "product":
        parts = tuple(
            part.model_copy(update={"columns": tuple(_column(c, names) for c in part.columns)})
            for part in likelihood.parts
        )
        likelihood = likelihood.model_copy(update={"parts": parts})
    if sees_views(recipe) and len(train.x_shape) == 1:
        views = tuple(tuple(_column(c, names) for c in view) for view in posterior.views)
        posterior = posterior.model_copy(update={"views": views})
    return recipe.model_copy(update={"likelihood": likelihood, "posterior": posterior})


def sees_views(recipe: Recipe) -> bool:
    r"""Whether the posterior has an expert for each view of `x`, any of which may be missing."""
    return getattr(recipe.posterior, "kind", "sites") == "product-of-experts"


def _column(column: int | str, names: tuple[str, ...]) -> int:
    if isinstance(column, int):
        return column
    if column not in names:
        listing = ", ".join(names) or "without names"
        raise ValueError(f"Expected one of the columns of the data ({listing}); got {column!r}.")
    return names.index(column)


def build_posterior(
    recipe: Recipe,
    x_shape: tuple[int, ...],
    scale: float,
    share: Tensor | None,
    num_data: int | None,
    units: Units | None = None,
    prior: Prior | None = None,
) -> Posterior:
    r"""Builds the posterior, with its encoder, one for each view, or an embedding that has a row
    per datum; it may share the prior."""
    kind, latent_dim = recipe.posterior, recipe.latent_dim
    if kind.kind == "per-datum":
        if num_data is None:
            raise ValueError("Expected training data, each row of which has parameters; got none.")
        return construct(kind, {"num_data": num_data, "latent_dim": latent_dim})
    if kind.kind == "product-of-experts":
        views = [places_of(view, x_shape) for view in kind.views]
        nets = [
            _encoder(
                kind, latent_dim, (len(view),), scale, _at(share, view), _units_at(units, view)
            )
            for view in views
        ]
        known = {"views": views, "prior": prior, "event_dim": len(x_shape)}
        return construct(kind, {"encoder": nets, "latent_dim": latent_dim, **known})
    encoder = _encoder(kind, latent_dim, x_shape, scale, share, units)
    return construct(kind, {"encoder": encoder, "latent_dim": latent_dim})


def _encoder(
    kind: Any,
    latent_dim: int,
    x_shape: tuple[int, ...],
    scale: float,
    share: Tensor | None,
    units: Units | None,
) -> nn.Module:
    r"""Builds the network of a posterior, with what comes before it."""
    encoder = construct(
        kind.encoder,
        {
            "in_features": x_shape if share is None else seen_shape(x_shape),
            "out_features": num_outputs(kind, latent_dim),
        },
        target=kind.encoder.encoder,
    )
    if share is not None:
        encoder = nn.Sequential(Observed(len(x_shape), share), encoder)
    first = input_scaling(scale, units)
    return nn.Sequential(*first, encoder) if first else encoder


def input_scaling(scale: float, units: Units | None) -> list[nn.Module]:
    r"""What comes before the network of an encoder, which sees data standardized, or divided so
    that they are about 0..1; nothing if they are already."""
    if units is not None:
        return [Standardize(*units)]
    return [Divide(scale)] if scale != 1 else []


def _at(values: Tensor | None, places: Sequence[int]) -> Tensor | None:
    r"""The values of some elements."""
    return None if values is None else values.flatten()[places]


def _units_at(units: Units | None, places: Sequence[int]) -> Units | None:
    r"""Mean and standard deviation of some elements."""
    return None if units is None else (units[0].flatten()[places], units[1].flatten()[places])


def seen_shape(x_shape: tuple[int, ...]) -> tuple[int, ...]:
    r"""The shape of values and of which are there, as networks see data with holes."""
    return (2 * x_shape[0], *x_shape[1:])


def build_likelihood(
    kind: Any,
    latent_dim: int,
    x_shape: tuple[int, ...],
    train: Split | None,
    units: Units | None = None,
    missing: bool = False,
) -> Likelihood:
    r"""Builds a likelihood and its decoder, or one of each per group of columns; with `missing`,
    any element may be missing."""
    known = None if train is None else moments(train)
    if kind.kind != "product":
        likelihood = _likelihood(kind, latent_dim, x_shape, known, units)
        return MissingAtRandom(likelihood) if missing else likelihood
    size = sum(len(part.columns) for part in kind.parts)
    if x_shape != (size,):
        taken = {column for part in kind.parts for column in part.columns}
        names = [] if train is None else [column.name for column in train.columns]
        left = [name for j, name in enumerate(names) if j not in taken]
        which = f"; {', '.join(map(repr, left[:20]))} are in no part" if left else ""
        raise ValueError(
            f"Expected the parts of the likelihood to cover all columns of x, of shape {x_shape}; "
            f"got {size} columns{which}. Add them to a part, or leave them out with --data.drop."
        )
    known_names = () if train is None else tuple(column.name for column in train.columns)
    parts = []
    for part in kind.parts:
        columns = [_column(column, known_names) for column in part.columns]
        if max(columns) >= size:
            raise ValueError(f"Expected columns below {size}; got {max(columns)}.")
        start, unit = (_units_at(both, columns) for both in (known, units))
        shape = (len(columns),)
        parts.append((columns, _likelihood(part.likelihood, latent_dim, shape, start, unit)))
    return construct(kind, {"decoder": nn.Identity(), "parts": parts})


def _likelihood(
    kind: Any,
    latent_dim: int,
    x_shape: tuple[int, ...],
    start: Units | None,
    units: Units | None,
) -> Likelihood:
    decoder = build_decoder(kind, latent_dim, x_shape)
    return start_likelihood(kind, decoder, x_shape, start, units)


def build_decoder(kind: Any, in_features: int, x_shape: tuple[int, ...]) -> nn.Module:
    r"""Builds the network of a likelihood."""
    shape = (num_outputs(kind) * x_shape[0], *x_shape[1:])
    if kind.decoder.kind == "posed":
        return _posed(kind.decoder, in_features, shape)
    known = {"in_features": in_features, "out_features": shape}
    return construct(kind.decoder, known, target=kind.decoder.decoder)


def _posed(kind: Any, in_features: int, shape: tuple[int, ...]) -> nn.Module:
    r"""Builds a decoder of images whose first features are a pose."""
    content = in_features - (4 if kind.magnified else 3)
    if len(shape) != 3 or content < 1:
        raise ValueError(
            "Expected images, of shape (C, H, W), and more latent features than those of the pose "
            f"for a posed decoder; got outputs of shape {shape} and {in_features} features."
        )
    known = {"in_features": content, "out_features": shape}
    net = construct(kind.net, known, target=kind.net.decoder)
    return construct(kind, {"net": net}, target=kind.decoder)


def start_likelihood(
    kind: Any,
    decoder: nn.Module,
    x_shape: tuple[int, ...],
    start: Units | None,
    units: Units | None,
) -> Likelihood:
    r"""Builds a likelihood whose parameters start at mean and standard deviation of the data."""
    likelihood = construct(kind, {"decoder": decoder, "event_dim": len(x_shape)})
    inner, inner_kind = getattr(likelihood, "family", likelihood), getattr(kind, "family", kind)
    if units is not None and isinstance(inner, LocationScale):
        inner.standardize(*units)
        if start is not None:
            start = ((start[0] - units[0]) / units[1], start[1] / units[1])
    bias: Any = getattr(decoder, "output_bias", None)
    if start is not None and bias is not None and kind.output_bias == "data-mean":
        start_at_mean(bias, likelihood, start[0])
    if start is not None and getattr(inner_kind, "scale", 1.0) is None:
        start_at_spread(inner, start[1])
    return likelihood


OF_BUILDING = (
    "kind", "given", "encoder", "decoder", "net", "output_bias", "latent_dim", "missing",
)  # fmt: skip
r"""Settings of kinds that are used for building and are not options of classes."""


def class_of(kind: Kind, target: str | None = None) -> Any:
    r"""The class that a kind stands for."""
    module, _, name = (target or kind.target).rpartition(".")
    return getattr(import_module(module), name)


def options_of(kind: Kind) -> dict[str, Any]:
    r"""The options of a kind that are passed to its class."""
    return {n: getattr(kind, n) for n in type(kind).model_fields if n not in OF_BUILDING}


def construct(kind: Kind, known: Mapping[str, Any], target: str | None = None) -> Any:
    r"""Builds the object that a kind stands for.

    Arguments:
        kind: The kind; all of its options are passed to the class, those that are kinds as the
            objects that these stand for.
        known: Other values, passed if the class has arguments of these names.
        target: The dotted path of a class to build instead of the kind's.

    Raises:
        TypeError: The class does not take an option of the kind.
    """
    make = maker_of(class_of(kind, target))
    taken = inspect.signature(make).parameters
    used = {name: value for name, value in known.items() if name in taken}
    options = options_of(kind)
    inner = {n: construct(v, known) for n, v in options.items() if isinstance(v, Kind)}
    return make(**{**options, **inner, **used})


def num_outputs(kind: Any, *sizes: int) -> int:
    r"""The number of outputs of the network of a family: per element of `x`, or for this many
    latent features."""
    count = class_of(kind).num_outputs
    taken = inspect.signature(count).parameters.values()
    every = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken)
    names = {p.name for p in taken}
    options = {n: v for n, v in options_of(kind).items() if every or n in names}
    options |= {n: num_outputs(v) for n, v in options.items() if isinstance(v, Kind)}
    return count(*sizes, **options)


def start_at_mean(output_bias: Tensor, likelihood: Likelihood, data_mean: Tensor) -> None:
    r"""Sets a decoder's output bias so that :math:`p(x \mid z)` starts at the mean of the data.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), the authors' code
        | https://arxiv.org/abs/1509.00519
    """
    mean = data_mean.flatten()
    empty = (mean == 0) & ~likelihood.support.check(torch.zeros_like(mean))
    if empty.any():  # elements without data, which start where the others do
        mean = torch.where(empty, mean[~empty].mean().nan_to_num(1.0), mean)
    start = likelihood.outputs_at(mean)
    if start is not None:
        with torch.no_grad():
            output_bias.view(-1)[: len(start)].copy_(start)


def start_at_spread(likelihood: Any, spread: Tensor) -> None:
    r"""Sets learned sigmas to the standard deviation of the data, per element or overall.

    Constant elements get that of the others; if all are constant, sigmas start at 1.
    """
    if likelihood.sigma not in ("shared", "per-column", "optimal"):
        return
    whole = (
        spread[spread > 0].square().mean().sqrt() if (spread > 0).any() else spread.new_ones(())
    )
    start = whole if likelihood.log_scale.dim() == 0 else torch.where(spread > 0, spread, whole)
    with torch.no_grad():
        likelihood.log_scale.copy_(start.log())


def rows_from(train: Split | None, x_shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    r"""Returns a function that draws `count` training data without replacement, of shape
    `(count, *x_shape)`, holes filled with means; before a checkpoint is loaded they are zeros."""

    def draw(count: int) -> Tensor:
        if train is None:
            return torch.zeros(count, *x_shape)
        if count > len(train):
            raise ValueError(
                f"Expected at most as many pseudo-inputs as training data, {len(train)}; got "
                f"{count}. Lower --prior.num-components."
            )
        rows = train.rows(torch.randperm(len(train))[:count])
        holes = rows.isnan()
        return torch.where(holes, moments(train)[0].to(rows), rows) if holes.any() else rows

    return draw
