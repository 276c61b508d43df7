r"""From a recipe's kinds to objects.  (layer 4)

A class receives, by the names of its arguments, the options of its kind and what the recipe
knows: ``latent_dim``, ``event_dim``, the networks, the posterior, pseudo-inputs.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from .config import Kind, Recipe
from .data import Split, mean
from .models import VAE
from .nn import Divide


def build_vae(recipe: Recipe, x_shape: tuple[int, ...], scale: float, train: Split | None) -> VAE:
    r"""Builds the VAE that a recipe declares.

    Arguments:
        recipe: The validated recipe.
        x_shape: The shape of one datum.
        scale: What the encoder divides data by, so that they are about 0..1.
        train: The training data, where parameters start at them; without it (before a checkpoint
            is loaded) they start at zero.

    Raises:
        ValueError: The parts do not fit each other or the data.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        return _build(recipe, x_shape, scale, train)


def _build(recipe: Recipe, x_shape: tuple[int, ...], scale: float, train: Split | None) -> VAE:
    latent_dim, event_dim = recipe.latent_dim, len(x_shape)

    encoder_kind = recipe.posterior.encoder
    encoder = construct(
        encoder_kind,
        {
            "in_features": x_shape,
            "out_features": recipe.posterior.num_outputs(latent_dim),
        },
        target=encoder_kind.encoder,
    )
    if scale != 1:
        encoder = nn.Sequential(Divide(scale), encoder)
    posterior = construct(recipe.posterior, {"encoder": encoder, "latent_dim": latent_dim})

    decoder_kind = recipe.likelihood.decoder
    decoder = construct(
        decoder_kind,
        {
            "in_features": latent_dim,
            "out_features": (recipe.likelihood.num_outputs * x_shape[0], *x_shape[1:]),
        },
        target=decoder_kind.decoder,
    )
    likelihood = construct(recipe.likelihood, {"decoder": decoder, "event_dim": event_dim})
    if train is not None and recipe.likelihood.output_bias == "data-mean":
        start_at_mean(decoder.output_bias, likelihood.support, mean(train))

    known = {"latent_dim": latent_dim, "posterior": posterior}
    if (count := getattr(recipe.prior, "num_components", None)) is not None:
        known["pseudo_inputs"] = choose_rows(train, count, x_shape)
    return VAE(construct(recipe.prior, known), likelihood, posterior)


def construct(kind: Kind, known: Mapping[str, Any], target: str | None = None) -> Any:
    r"""Calls the class that `kind` stands for, with its options and what it asks of `known`."""
    module, _, name = (target or kind.target).rpartition(".")
    cls = getattr(import_module(module), name)
    options = {key: getattr(kind, key) for key in type(kind).model_fields if key not in known}
    parameters = inspect.signature(cls).parameters
    return cls(**{k: v for k, v in {**options, **known}.items() if k in parameters})


def start_at_mean(output_bias: Tensor, support: Constraint, data_mean: Tensor) -> None:
    r"""Sets a decoder's output bias so that :math:`p(x \mid z)` starts at the mean of the data.

    Likelihoods of bits and counts take logits, so :math:`b = \mathrm{logit}(\bar{x} / n)`, with
    :math:`\bar{x} / n` kept inside [0.001, 0.999]; others take the mean itself.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016), the authors' code
        | https://arxiv.org/abs/1509.00519
    """
    start = data_mean.flatten()
    if support.is_discrete:
        highest = getattr(support, "upper_bound", 1)
        start = (start / highest).clamp(1e-3, 1 - 1e-3).logit()
    with torch.no_grad():  # a sigma per element follows the means and starts at zero
        output_bias.view(-1)[: len(start)].copy_(start)


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


def find_device(name: str) -> torch.device:
    r"""Returns the device called `name`; ``"auto"`` takes a GPU where there is one.

    Raises:
        ValueError: A GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"Expected a GPU for device {name!r}; torch {torch.__version__} sees "
            f"{torch.cuda.device_count()}. Use --device cpu or auto."
        )
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device
