r"""Completed data: draws from :math:`p(x_\text{missing} \mid x_\text{there})`."""

import warnings
from typing import Any, Literal

import torch

from ..checks import Data, opened
from ..counted import counted
from ..ranks import here
from .completion import Imputed, judged
from .gibbs import by_gibbs
from .nuts import by_nuts
from .resampling import by_resampling

METHODS: dict[str, Any] = {"sir": by_resampling, "gibbs": by_gibbs, "nuts": by_nuts}
FEWEST_STEPS = 8  # of which a half is kept, and split again


@counted
def impute(
    vae: Any,
    x: Data,
    num_samples: int = 10,
    *,
    method: Literal["sir", "gibbs", "nuts"] = "sir",
    num_particles: int = 1000,
    num_steps: int = 500,
    seed: int = 0,
    **known: Any,
) -> Imputed:
    r"""Completes data by draws from :math:`p(x_\text{missing} \mid x_\text{there})`.

    - ``"sir"``, sampling importance resampling: for each datum `num_particles` latent variables
      are drawn by the guide, with the missing elements by the model; as many as `num_samples` are
      chosen by their weights :math:`p(x_\text{there}, z) / q(z \mid x_\text{there})`.
    - ``"gibbs"``, Metropolis within Gibbs: chains start there, and in turn propose
      :math:`z' \sim q(z \mid x)` for the completed `x`, accepted with probability

      .. math:: \min\left(1, \frac{p(x, z') \, q(z \mid x)}{p(x, z) \, q(z' \mid x)}\right)

      and draw the missing elements by the model. Every other step proposes from the guide of `x`
      with its holes, if it knows holes; else chains start from the prior. Each draw is the end of
      a chain of its own. It is exact for a guide that is wrong, also where that is too wrong to
      weigh.
    - ``"nuts"``: a chain of NUTS for each datum, for continuous latent variables; it is slow and
      needs the guide for its start alone.

    Draws that cannot be trusted are warned of, in the words of ``reason``.

    References:
        | MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets
        | (Mattei & Frellsen, 2019), Sec. 3.4
        | https://arxiv.org/abs/1812.02633
        | Leveraging the Exact Likelihood of Deep Latent Variable Models
        | (Mattei & Frellsen, 2018), Sec. 4.2
        | https://arxiv.org/abs/1802.04826

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide, whose likelihood allows holes.
        x: The data, of shape `(B, *x_shape)`, with NaN in the holes.
        num_samples: How many completions of each.
        method: How they are drawn.
        num_particles: How many draws they are chosen from, or chains of Gibbs start from.
        num_steps: Steps of each chain: of Gibbs, which keeps the second half, or of NUTS after its
            warm-up.
        seed: Seeds the draws.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The completions, with what tells how far to trust them.

    Raises:
        ValueError: There is no such method, or it does not go with the latent variables or the
            posterior.
    """
    if method != "sir" and num_steps < FEWEST_STEPS:
        raise ValueError(
            f"Expected num_steps of at least {FEWEST_STEPS}, of which chains keep some; got "
            f"{num_steps}."
        )
    with opened(vae, x, known, seed, freeze=True) as (program, split):
        found = METHODS[method](program, split, num_samples, num_particles, num_steps)
        parts = here().in_order(found, split.device)
    draws, *others = zip(*parts)
    fields = (torch.cat(draws, 1), *(torch.cat(part) for part in others))
    found = judged(method, fields, num_particles)
    if not bool(found.trusted.all()):
        warnings.warn(found.reason, stacklevel=3)
    return found
