r"""Builds models whose parts are products of factors."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from ..base import Factor, Net, Sites
from ..config import PosteriorKind, Recipe, allows_holes, sites_of
from ..data import Split, moments
from ..likelihoods import MissingAtRandom
from ..models import VAE
from ..nn import At, Join, Observed
from .masking import build_masking
from .parts import (
    Units,
    build_decoder,
    construct,
    find_share,
    input_scaling,
    num_outputs,
    seen_shape,
    start_likelihood,
)

Shapes = Mapping[str, tuple[int, ...]]


def build_sites(
    recipe: Recipe, shapes: Shapes, scale: float, train: Split | None, units: Units | None
) -> VAE:
    r"""Builds the VAE of a recipe with products of factors, or with factors that depend on other
    variables than their role implies.

    Arguments:
        recipe: The validated recipe.
        shapes: The shapes of `x` and of additional inputs, by name.
        scale: The number that encoders divide `x` by.
        train: The training data, for parameters that start at their statistics.
        units: Mean and standard deviation of the data, if networks see them standardized.

    Raises:
        ValueError: A kind cannot be a factor of a product.
    """
    known: dict[str, tuple[int, ...]] = {name: tuple(shape) for name, shape in shapes.items()}
    priors = sites_of(recipe.prior, "prior")
    for name, kind in priors.items():
        known[name] = (kind.latent_dim or recipe.latent_dim,)
    latent = [name for name, kind in priors.items() if kind.kind != "net"]
    first = input_scaling(scale, units)
    missing = allows_holes(sites_of(recipe.likelihood, "likelihood")["x"], recipe.data)
    parts: dict[str, dict[str, Any]] = {}
    for role, default in (("likelihood", latent), ("prior", []), ("posterior", ["x"])):
        nets: dict[str, tuple[int, ...]] = dict(known)
        holes = []
        if missing and role == "posterior":
            holes = [Observed(len(known["x"]), find_share(train, known["x"]))]
        steps = [*first, *holes]
        scaling = nn.Sequential(*steps) if len(steps) > 1 else steps[0] if steps else None
        if holes:  # what networks see of x
            nets["x"] = seen_shape(known["x"])
        factors: dict[str, Any] = {}
        for name, kind in sites_of(getattr(recipe, role), role).items():
            factor: Any
            given = list(getattr(kind, "given", None) or default)
            if kind.kind == "net":
                nets[name] = (kind.latent_dim,)
            if kind.kind == "corrected":
                above = parts["prior"][name]
                factor = _corrected(kind, given, nets, scaling, prod(nets[name]), above)
            elif kind.kind == "codes":
                factor = None  # until the posterior is there, whose codebook it shares
            elif kind.kind == "self-masking":
                factor = build_masking(known["x"], train, units)
            else:
                factor = _factor(name, kind, given, nets, scaling, train, units)
                if role == "likelihood" and kind.kind != "net":
                    holes_here = missing if name == "x" else kind.missing == "at-random"
                    factor = MissingAtRandom(factor) if holes_here else factor
            factors[name] = factor if given == default else factor.given(*given)
        parts[role] = factors
    for name, kind in priors.items():
        if kind.kind == "codes":
            parts["prior"][name] = construct(kind, {"posterior": parts["posterior"][name]})
    whole = {}
    for role, factors in parts.items():
        one = not isinstance(getattr(recipe, role), Mapping)
        whole[role] = next(iter(factors.values())) if one else Sites(factors)
    return VAE(**whole)


def _factor(
    name: str,
    kind: Any,
    given: Sequence[str],
    shapes: Shapes,
    scaling: nn.Module | None,
    train: Split | None,
    units: Units | None,
) -> Factor:
    if kind.kind in ("vamp", "per-datum", "product", "product-of-experts"):
        raise ValueError(
            f"Expected kinds that can be factors of a product; got {kind.kind} for {name!r}. "
            "Build such a model in Python."
        )
    if not given:  # an unconditional prior
        return construct(kind, {"latent_dim": prod(shapes[name])})
    inputs = [shapes[parent] for parent in given]
    size = inputs[0] if len(inputs) == 1 else (sum(prod(shape) for shape in inputs),)
    event_dims = [len(shape) for shape in inputs]
    if kind.kind == "net":
        options = {"in_features": size, "out_features": shapes[name]}
        net = construct(kind.net, options, target=kind.net.encoder)
        return Net(_on_x(_joined(net, event_dims), given, scaling))
    if isinstance(kind, PosteriorKind):
        latent_dim = prod(shapes[name])
        outputs = num_outputs(kind, latent_dim)
        known = {"in_features": size, "out_features": outputs}
        net = construct(kind.encoder, known, target=kind.encoder.encoder)
        encoder = _on_x(_joined(net, event_dims), given, scaling)
        return construct(kind, {"encoder": encoder, "latent_dim": latent_dim})
    decoder = _joined(build_decoder(kind, prod(size), shapes[name]), event_dims)
    start = moments(train) if train is not None and name == "x" else None
    return start_likelihood(kind, decoder, shapes[name], start, units if name == "x" else None)


def _corrected(
    kind: Any,
    given: Sequence[str],
    shapes: Shapes,
    scaling: nn.Module | None,
    latent_dim: int,
    prior: Factor,
) -> Factor:
    r"""The posterior that corrects the prior of its site by a network of its first input."""
    known = {"in_features": shapes[given[0]], "out_features": num_outputs(kind, latent_dim)}
    net = construct(kind.encoder, known, target=kind.encoder.encoder)
    return construct(kind, {"encoder": _on_x(net, given[:1], scaling), "prior": prior})


def _joined(net: nn.Module, event_dims: Sequence[int]) -> nn.Module:
    return net if len(event_dims) == 1 else Join(net, event_dims)


def _on_x(net: nn.Module, given: Sequence[str], scaling: nn.Module | None) -> nn.Module:
    r"""The network, with `x` scaled first if it is one of the inputs."""
    if scaling is None or "x" not in given:
        return net
    if len(given) == 1:
        return nn.Sequential(scaling, net)
    return nn.Sequential(At(given.index("x"), scaling), net)
