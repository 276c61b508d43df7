r"""How noisy is an estimator's gradient, and is it right on average?"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import check_rows, take
from ..counted import counted
from ..objectives.base import Objective
from ..programs import as_program, is_vae, undisturbed


@counted
def gradients(
    vae: Any,
    objective: Objective,
    x: Tensor,
    num_draws: int = 100,
    *,
    parameters: Iterable[nn.Parameter] | None = None,
    seed: int = 0,
    **known: Any,
) -> Tensor:
    r"""Draws an estimator's gradient again and again, for its mean and its variance.

    An estimator of the gradient of a bound :math:`\mathcal{L}` is unbiased if the mean over draws
    tends to :math:`-\nabla \mathcal{L}`, the gradient of the loss; what training feels is the
    variance.

    References:
        | Monte Carlo Gradient Estimation in Machine Learning (Mohamed et al., 2020), Sec. 3.1
        | https://arxiv.org/abs/1906.10652

    Arguments:
        vae: The VAE, or a pair `(model, guide)`.
        objective: The estimator. A copy of it is used, whose baseline learns from draw to draw.
        x: The data, of shape `(B, *x_shape)`.
        num_draws: The number of draws.
        parameters: In what to differentiate, by default all parameters that are trained.
        seed: Seeds the samples.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The gradients in nats per datum, of shape `(num_draws, P)` with `P` the number of elements
        of all parameters, one after another; zero where the loss does not depend on one.

    Raises:
        ValueError: There are no parameters.

    Example:
        >>> import pyro_vae as pv
        >>> from pyro_vae.exact import linear_gaussian
        >>> vae = linear_gaussian(dim=3, latent_dim=2, sigma=0.5)
        >>> bias = vae.posterior.encoder.layers[0].bias
        >>> gradients(vae, pv.objectives.STL(), torch.randn(8, 3), parameters=[bias]).shape
        torch.Size([100, 4])
    """
    program, objective = as_program(vae), deepcopy(objective)
    check_rows(program, known)
    if is_vae(program):
        x, known = take(program, x, known).batch(slice(None))
    given = program.parameters() if parameters is None else parameters
    chosen = [p for p in given if p.requires_grad]
    if not chosen:
        raise ValueError("Expected parameters that require gradients; got none.")
    with undisturbed(program, seed) as device, torch.enable_grad():
        objective, draws = objective.to(device), []
        for _ in range(num_draws):
            loss = objective(program.model, program.guide, x.to(device), **known).loss
            found = torch.autograd.grad(loss, chosen, allow_unused=True, materialize_grads=True)
            draws.append(torch.cat([gradient.flatten() for gradient in found]))
    return torch.stack(draws)
