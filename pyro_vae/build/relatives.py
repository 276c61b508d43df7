r"""Builds relatives of the VAE."""

from typing import Any, cast

import torch

from ..config import RelativeRecipe
from ..data import Split, moments
from ..gallery import Relative
from ..precision import default_dtype
from ..randomness import apart
from .parts import construct


def build_relative(
    recipe: RelativeRecipe, x_shape: tuple[int, ...], scale: float, train: Split | None
) -> Relative:
    r"""Builds the relative that a recipe declares.

    Arguments:
        recipe: The validated recipe.
        x_shape: The shape of one datum.
        scale: The number that networks divide data by, so that they are about 0..1.
        train: The training data, for parameters that start at their mean; without them (before a
            checkpoint is loaded) these start at zero.

    Raises:
        ValueError: The options do not fit the data.
    """
    double = recipe.train.precision == "float64"
    dtype = torch.float64 if double else torch.get_default_dtype()
    mean = None if train is None else moments(train)[0].to(dtype)
    known: dict[str, Any] = {"x_shape": x_shape, "x_scale": scale, "x_mean": mean}
    with apart(torch.device("cpu"), recipe.seed), default_dtype(dtype):
        return cast(Relative, construct(recipe.model, known))
