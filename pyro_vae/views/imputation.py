r"""Completed data: draws from :math:`p(x_\text{missing} \mid x_\text{there})`."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checks import Data, opened
from ..counted import counted
from ..programs import batches, log_density, rows_at_once, traces
from ..statistics import pareto_shape

ELEMENTS_AT_ONCE = 4_000_000


class Imputed(NamedTuple):
    r"""Data without holes, and how far they can be trusted.

    Attributes:
        draws: Draws of whole data, of shape `(num_samples, B, *x_shape)`; what was there is there.
        mean: The posterior mean of each element, of shape `(B, *x_shape)`, by all particles.
        ess: The effective number of particles of each datum, of shape `(B,)`.
        khat: The tail of their weights, of shape `(B,)`; above 0.7 the draws are not those of the
            posterior, and :func:`pyro_vae.evaluate.nuts_posterior` says what they would be.
    """

    draws: Tensor
    mean: Tensor
    ess: Tensor
    khat: Tensor


@counted
def impute(
    vae: Any,
    x: Data,
    num_samples: int = 10,
    *,
    num_particles: int = 1000,
    seed: int = 0,
    **known: Any,
) -> Imputed:
    r"""Completes data by sampling importance resampling.

    For each datum `num_particles` latent variables are drawn by the guide, with the missing
    elements by the model; as many as `num_samples` are chosen by their weights
    :math:`p(x_\text{there}, z) / q(z \mid x_\text{there})`.

    References:
        | MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets
        | (Mattei & Frellsen, 2019), Sec. 3.4
        | https://arxiv.org/abs/1812.02633

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide, whose likelihood allows holes.
        x: The data, of shape `(B, *x_shape)`, with NaN in the holes.
        num_samples: How many completions of each.
        num_particles: How many draws they are chosen from.
        seed: Seeds the draws.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The completions, with what tells how far to trust them.
    """
    parts: list[Imputed] = []
    with opened(vae, x, known, seed, freeze=True) as (program, split):
        rows = rows_at_once(split, num_particles, ELEMENTS_AT_ONCE)
        for data, more in batches(split, rows):
            q, p = traces(program.model, program.guide, data, num_particles, **more)
            scored = [s for n, s in p.items() if s["is_observed"] or n in q]
            log_w = log_density(scored) - log_density(q.values())
            log_w = log_w.expand(num_particles, len(data))
            whole = p["x_missing"]["value"] if "x_missing" in p else p["x"]["fn"].sample()
            whole = torch.where(data.isnan(), whole.expand(num_particles, *data.shape), data)
            share = log_w.softmax(0)
            pick = torch.distributions.Categorical(probs=share.T).sample((num_samples,))
            parts.append(
                Imputed(
                    whole[pick, torch.arange(len(data), device=data.device)],
                    torch.einsum("kb,kb...->b...", share, whole),
                    1 / share.square().sum(0),
                    pareto_shape(log_w.double().topk(_tail(num_particles), dim=0).values),
                )
            )
    draws, *others = zip(*parts)
    return Imputed(torch.cat(draws, 1), *(torch.cat(part) for part in others))


def _tail(num_particles: int) -> int:
    return min(num_particles, 1 + min(num_particles // 5, int(3 * num_particles**0.5)))
