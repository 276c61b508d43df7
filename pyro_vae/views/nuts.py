r"""Completions by NUTS, which needs no guide but for its start."""

from collections.abc import Iterator
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..data import Split
from ..programs import Unconstrained, mixing, nuts_chain, own_batches, sample_sites
from .completion import Completed, nothing_like

WARMUP = 300


def by_nuts(
    program: Any, split: Split, num_samples: int, num_particles: int, num_steps: int
) -> Iterator[Completed]:
    r"""Moves a chain for each datum with holes, from which draws are taken evenly."""
    count = max(num_steps, num_samples)
    for x, known in own_batches(split, 1):
        if not bool(x.isnan().any()):
            ess = x.new_full((1,), float(count))
            rest = (nothing_like(ess), torch.ones_like(ess), nothing_like(ess))
            yield Completed(x.expand(num_samples, *x.shape), x, ess, *rest, x.isnan())
            continue
        whole, rhat, ess = _chain(program, x, known, count)
        rows = torch.linspace(0, count - 1, num_samples).long()
        rest = (nothing_like(ess), rhat, nothing_like(ess))
        yield Completed(whole[rows], whole.mean(0), ess, *rest, x.isnan())


def _chain(
    program: Any, x: Tensor, known: dict[str, Any], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Completions of one datum along a chain, with R-hat and effective sample size."""
    try:
        latents = Unconstrained(program, x, **known)
    except ValueError as error:
        said, _, _ = str(error).partition(". ")
        raise ValueError(f"{said.rstrip('.')}. Take method='gibbs'.") from error
    chain = nuts_chain(program, x, known, latents, count, WARMUP)
    values, _ = latents.split(chain[:, None])
    model = poutine.condition(program.model, data=values)
    with pyro.plate("particles", count, dim=-2):
        p = sample_sites(poutine.trace(model).get_trace(x, **known))
    drawn = p["x_missing"]["value"] if "x_missing" in p else p["x"]["fn"].sample()
    rhat, ess = (value.reshape(1).to(x) for value in mixing(chain[None]))
    return torch.where(x.isnan(), drawn.expand(count, *x.shape), x), rhat, ess
