r"""Builds models of sequences."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..config import Recipe
from ..data import Split, moments
from ..likelihoods import MissingAtRandom
from ..models import VAE
from ..nn import Backward, Gated, followed
from ..posteriors import CorrectedMarkov
from ..priors import Markov
from .parts import build_decoder, find_units, input_scaling, num_outputs, start_likelihood


def build_chain(
    recipe: Recipe, x_shape: tuple[int, ...], scale: float, train: Split | None
) -> VAE:
    r"""Builds the VAE of a recipe whose prior is a chain. What is missing of a sequence, such as
    padding, is integrated out; networks see one step, in the units of all steps.

    Arguments:
        recipe: The validated recipe.
        x_shape: The shape `(T, D)` of a sequence.
        scale: The number that the encoder divides `x` by.
        train: The training data, for parameters that start at their statistics.

    Raises:
        ValueError: The data are no sequences, or the likelihood is not one of single elements.
    """
    kind, prior, posterior = recipe.likelihood, recipe.prior, recipe.posterior
    if len(x_shape) != 2:
        raise ValueError(
            f"Expected sequences, x of shape (T, D), for a markov prior; got x of shape {x_shape}."
        )
    if kind.kind == "product" or num_outputs(kind) != 1:
        raise ValueError(
            "Expected a likelihood with one number for each element of a sequence, such as "
            f"bernoulli, gaussian or poisson; got {kind.kind} with more. Choose another, or build "
            "the model in Python."
        )
    steps, size = x_shape
    latent_dim = prior.latent_dim or recipe.latent_dim
    rows = None
    if train is not None:  # each step is a row
        holes = None if train.holes is None else train.holes.flatten(0, 1)
        rows = replace(
            train, stored=train.stored.flatten(0, 1), holes=holes, labels=None, known={}
        )
    units = find_units(rows, (size,)) if recipe.data.standardize else None
    start = None if rows is None else moments(rows)
    decoder = build_decoder(kind, latent_dim, (size,))
    likelihood = start_likelihood(kind, decoder, x_shape, start, units)
    chain = Markov(Gated(latent_dim, prior.hidden_features), latent_dim, prior.num_steps or steps)
    encoder: nn.Module = Backward(
        size, posterior.hidden_features, 2 * latent_dim, share_of_steps(train, size)
    )
    first = input_scaling(scale, units)
    encoder = nn.Sequential(*first, encoder) if first else encoder
    return VAE(chain, MissingAtRandom(likelihood), CorrectedMarkov(encoder, chain))


def share_of_steps(train: Split | None, size: int) -> Tensor:
    r"""Returns the share of the steps of the training data in which an element is there, of shape
    `(size,)`; padding is no step. Before a checkpoint is loaded it is one."""
    if train is None:
        return torch.ones(size)
    there, steps = torch.zeros(size, dtype=torch.double), 0
    for x in replace(train, hole_rate=0.0).chunks():
        there += (~x.isnan()).double().sum((0, 1)).cpu()
        steps += int(followed(x).sum())
    return (there / max(steps, 1) * (1 - train.hole_rate)).to(torch.get_default_dtype())
