r"""Completions by Metropolis within Gibbs."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from ..data import Split
from ..programs import (
    Sites,
    density_of,
    guide_name,
    log_density,
    mixing,
    own_batches,
    prior_guide,
    rows_at_once,
    sample_sites,
)
from .completion import Completed
from .resampling import ELEMENTS_AT_ONCE, BlindGuide, particles, tail_of

FEWEST_CHAINS = 4
STATES_KEPT = 100  # of each chain, evenly spaced, by which its mixing is judged


class State(NamedTuple):
    r"""Where chains are.

    Attributes:
        values: The values of latent sites, each of shape `(N, *event)` for `N` chains.
        x: The data without holes, of shape `(N, *x_shape)`.
    """

    values: dict[str, Tensor]
    x: Tensor


def by_gibbs(
    program: Any, split: Split, num_samples: int, num_particles: int, num_steps: int
) -> Iterator[Completed]:
    r"""Moves chains, each draw being the end of one."""
    if density_of(program) == "own samples":
        raise ValueError(
            "Expected a posterior whose density is available anywhere, as chains compare it at "
            f"values that it did not draw; got {guide_name(program)}. Take method='sir' or 'nuts'."
        )
    chains = max(num_samples, FEWEST_CHAINS)
    rows = rows_at_once(split, max(num_particles, 10 * chains), ELEMENTS_AT_ONCE)
    for x, known in own_batches(split, rows):
        sees_holes = True
        try:
            start = particles(program, x, known, num_particles)
        except BlindGuide:
            prior, sees_holes = prior_guide(program.model), False
            start = particles(program, x, known, num_particles, prior)
        pick = start.pick(chains)
        values = {name: value[pick].flatten(0, 1) for name, value in start.values.items()}
        state = State(values, start.whole[pick].flatten(0, 1))
        many = {name: torch.cat([value] * chains) for name, value in known.items()}
        holes = torch.cat([x.isnan()] * chains)
        how = (chains, num_steps, start.others, sees_holes)
        walked = _walked(program, state, holes, many, *how)
        yield walked._replace(
            draws=walked.draws[:num_samples], khat=tail_of(start.log_weights), holes=x.isnan()
        )


def _walked(
    program: Any,
    state: State,
    holes: Tensor,
    known: dict[str, Any],
    chains: int,
    num_steps: int,
    others: bool,
    sees_holes: bool,
) -> Completed:
    r"""Moves chains from their start, and keeps the second half of their steps.

    Proposals are those of a guide of the completed data and, in every other step, of the data as
    they are if the guide sees holes and nothing else is observed.

    How well they mix is said of latent variables, with which the model draws missing elements
    anew; where `others` are observed, these move by proposals, and are features, too.
    """
    first = num_steps // 2
    every = max(1, (num_steps - first) // STATES_KEPT)
    moved, total = state.x.new_zeros(len(state.x)), torch.zeros_like(state.x)
    states: list[Tensor] = []
    for step in range(num_steps):
        as_it_is = step % 2 == 1 and sees_holes and not others
        state, accepted = move(program, state, holes, known, as_it_is=as_it_is)
        moved += accepted
        if step >= first:
            total += state.x
            if (step - first) % every == 0:
                features = [*state.values.values(), *([state.x] if others else [])]
                states.append(torch.cat([v.reshape(len(v), -1) for v in features], 1))
    split = (chains, -1)
    rhat, ess = mixing(torch.stack(states, 1).unflatten(0, split).transpose(1, 2))
    return Completed(
        state.x.unflatten(0, split),
        total.unflatten(0, split).mean(0) / (num_steps - first),
        ess.to(state.x),
        torch.empty(0),
        rhat.to(state.x),
        moved.unflatten(0, split).mean(0) / num_steps,
        holes,
    )


def move(
    program: Any, state: State, holes: Tensor, known: Mapping[str, Any], *, as_it_is: bool = False
) -> tuple[State, Tensor]:
    r"""Moves each chain by a step that leaves :math:`p(x_\text{missing}, z \mid x_\text{there})`
    as it is.

    First :math:`z' \sim q(z \mid x)` for the completed `x`, accepted or not; what the guide does
    not draw is drawn by the model, with it. Then the missing elements are drawn by the model;
    where other sites are observed, which may be given `x`, this too is a proposal, accepted by
    their densities.

    With `as_it_is` all this is done for what is there of `x`, where its densities integrate the
    rest out: a step on :math:`p(z \mid x_\text{there})`, after which missing elements are drawn.

    Arguments:
        program: A VAE, or a program.
        state: Where the chains are.
        holes: Which elements are missing, of the shape of `x`.
        known: Further inputs of the programs, a row for each chain.
        as_it_is: Whether guide and model see `x` with its holes; for models that observe nothing
            else.

    Returns:
        Where they are next, and which share of their proposals was accepted, of shape `(N,)`.
    """
    x = state.x.masked_fill(holes, torch.nan) if as_it_is else state.x
    draw = poutine.trace(program.guide).get_trace(x, **known)
    q, p = sample_sites(draw), _model(poutine.replay(program.model, trace=draw), x, known)
    fixed = poutine.condition(program.guide, data=state.values)
    q_here = sample_sites(poutine.trace(fixed).get_trace(x, **known))
    p_here = _model(poutine.condition(program.model, data=state.values), x, known)
    seen = [name for name, site in p.items() if site["is_observed"]]
    names = [name for name in q if name != "x_missing"]
    scored = [name for name in p if name in seen or name in names]
    ratio = _score(p, scored) - _score(p_here, scored) + _score(q_here, names) - _score(q, names)
    yes = accepted(ratio.expand(len(x)))
    values = {
        name: _where(yes, p[name]["value"].expand_as(value), value)
        for name, value in state.values.items()
    }
    drawn = _where(yes, p["x"]["fn"].sample(), p_here["x"]["fn"].sample())
    completed, moved = torch.where(holes, drawn, state.x), yes.to(x.dtype)
    if others := [name for name in seen if name != "x"]:
        there = _model(poutine.condition(program.model, data=values), completed, known)
        here = _where(yes, _score(p, others), _score(p_here, others))
        also = accepted((_score(there, others) - here).expand(len(x)))
        completed, moved = _where(also, completed, x), (moved + also) / 2
    return State(values, completed), moved


def accepted(log_ratio: Tensor) -> Tensor:
    r"""Which proposals are accepted, by the rule of Metropolis."""
    return torch.rand_like(log_ratio).log() < log_ratio


def _model(model: Any, x: Tensor, known: Mapping[str, Any]) -> Sites:
    return sample_sites(poutine.trace(model).get_trace(x, **known))


def _score(sites: Sites, names: list[str]) -> Tensor:
    return log_density([sites[name] for name in names]).double()


def _where(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    r"""Chooses rows."""
    return torch.where(condition.reshape(-1, *[1] * (no.dim() - 1)), yes, no)
