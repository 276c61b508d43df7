r"""Draws side by side: some latent sites held, or under one condition after another."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..counted import counted
from ..programs import as_program, drawn, latent_names, plainly, rows_of, sample_sites, undisturbed
from .generated import What, conditions_in, sample, see


class Held(NamedTuple):
    r"""Draws in rows, each of which shares the values of some latent sites.

    Attributes:
        x: Means or samples, of shape `(num_rows, num_draws, *x_shape)`.
        latents: The values of all latent sites, each of shape `(num_rows, num_draws, *z_shape)`.
    """

    x: Tensor
    latents: dict[str, Tensor]


@counted
def sample_held(
    vae: Any,
    sites: Sequence[str],
    num_rows: int = 8,
    num_draws: int = 8,
    what: What = "mean",
    *,
    seed: int = 0,
    **known: Any,
) -> Held:
    r"""Draws some latent sites once a row, and the other sites anew for every element of the row.

    What comes after a held site is drawn given its value; what comes before is drawn from the
    prior, not from its posterior given that value.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide, as :func:`pyro_vae.sample` takes it.
        sites: The names of the latent sites to hold.
        num_rows: How many values they take.
        num_draws: How many draws of the others there are for each.
        what: ``"mean"`` or ``"sample"`` of :math:`p(x \mid z)`.
        seed: Seeds the draws.
        known: Conditions, one value for all or one for each row.

    Raises:
        ValueError: There is no such latent site, or a condition is missing.
    """
    vae = as_program(vae)
    given = conditions_in(vae, known)
    with undisturbed(vae, seed), plainly():
        rows = {n: rows_of(vae, n, v, num_rows) for n, v in given.items()}
        first = drawn(vae, num_rows, rows)
        names = latent_names(vae, first)
        if not sites or (strange := [name for name in sites if name not in names]):
            got = ", ".join(strange) if sites else "none"
            raise ValueError(f"Expected latent sites to hold ({', '.join(names)}); got {got}.")
        held = {name: sample_sites(first)[name]["value"] for name in sites}
        every = {n: v.repeat_interleave(num_draws, 0) for n, v in {**rows, **held}.items()}
        trace = drawn(vae, num_rows * num_draws, every)
        shape, found = (num_rows, num_draws), sample_sites(trace)
        latents = {name: found[name]["value"].unflatten(0, shape) for name in names}
        return Held(see(trace, what).unflatten(0, shape), latents)


@counted
def sample_under(
    vae: Any,
    conditions: Mapping[str, Tensor],
    num_draws: int = 8,
    what: What = "mean",
    *,
    seed: int = 0,
    **known: Any,
) -> Tensor:
    r"""Draws data under one condition after another, with the same noise under each: where the
    prior does not depend on the condition, the same :math:`z`.

    Arguments:
        vae: A VAE.
        conditions: Rows of conditions, or of values of latent sites, as many of each.
        num_draws: How many draws there are under each row.
        what: ``"mean"`` or ``"sample"`` of :math:`p(x \mid z, c)`.
        seed: Seeds the draws.
        known: Other conditions, one value for all.

    Returns:
        Data of shape `(num_rows, num_draws, *x_shape)`.
    """
    rows = [dict(zip(conditions, row)) for row in zip(*conditions.values())]
    draws = [
        sample(vae, num_draws, what, seed=seed, **known, **{n: v[None] for n, v in row.items()})
        for row in rows
    ]
    return torch.stack(draws)
