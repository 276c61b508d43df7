r"""How likely are the data? Annealed importance sampling, and a bound from either side."""

from collections.abc import Sequence
from itertools import pairwise
from math import log, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import ranks
from ..checks import Data, opened
from ..compile import Staged
from ..counted import counted
from ..data import Split
from ..programs import (
    Start,
    Unconstrained,
    as_program,
    batches,
    own_batches,
    rows_at_once,
    simulate,
    undisturbed,
)
from .importance import log_mean

ACCEPTANCE = 0.65  # the best acceptance rate of Hamiltonian moves (Neal, 2011, Sec. 5.4.4)
ADAPTATION = 0.1  # how fast the pilot's step sizes move
PILOT = 4  # the pilot has one of this many temperatures

Batch = tuple[Tensor, dict[str, Any]]


class Annealed(NamedTuple):
    r"""An estimate of :math:`\log p(x)` for every datum, each field of shape `(B,)`.

    Attributes:
        log_marginal: The estimate, in nats; below :math:`\log p(x)` on average.
        mc_se: Its Monte Carlo standard error over chains, in nats; NaN for a single chain.
        ess: The effective number of chains.
        acceptance: The share of accepted moves; about 0.65 is best, near 0 no chain moves.
    """

    log_marginal: Tensor
    mc_se: Tensor
    ess: Tensor
    acceptance: Tensor


class Sandwich(NamedTuple):
    r"""Bounds on :math:`\log p(x)` of simulated data, each of shape `(B,)`, in nats.

    On average over chains ``lower`` is below and ``upper`` above; their difference bounds the
    error of either.

    Attributes:
        lower: From chains that start at the prior.
        upper: From chains that start at the latent variable behind each datum.
        x: The data.
    """

    lower: Tensor
    upper: Tensor
    x: Tensor


@counted
def ais(
    vae: Any,
    x: Data,
    *,
    num_temperatures: int = 1000,
    num_chains: int = 4,
    num_leapfrogs: int = 10,
    start: Start = "prior",
    seed: int = 0,
    skip_checks: bool = False,
    **known: Any,
) -> Annealed:
    r"""Estimates :math:`\log p(x)` of each datum by annealed importance sampling.

    Chains go from the prior, or the guide, :math:`f_0` to the posterior through

    .. math:: f_\beta(u) = f_0(u)^{1 - \beta} \, p(x, u)^\beta, \qquad
        \log w = \sum_t (\beta_t - \beta_{t - 1}) \log \frac{p(x, u_{t - 1})}{f_0(u_{t - 1})}

    by Hamiltonian moves, and :math:`\mathbb{E}[w] = p(x)`. A pilot chain of its own finds a step
    size for each datum and temperature; these are then fixed, as the mean of w asks for.

    References:
        | Annealed Importance Sampling (Neal, 2001), Eq. 5 and 11
        | https://arxiv.org/abs/physics/9803008
        | On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017), Sec. 3
        | https://arxiv.org/abs/1611.04273

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide, with continuous latent variables.
        x: The data, of shape `(B, *x_shape)`.
        num_temperatures: The number of steps from :math:`\beta = 0` to 1.
        num_chains: The number of chains per datum, whose weights are averaged.
        num_leapfrogs: The number of leapfrog steps in a move.
        start: ``"prior"``, or ``"guide"`` where its density is available for any value.
        seed: Seeds the chains.
        skip_checks: As in :func:`pyro_vae.log_marginal`.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The estimate, its error, effective number of chains and acceptance, each of shape `(B,)`.

    Raises:
        ValueError: A latent variable is discrete or has a support without a bijection, or a
            number is not positive.
    """
    needs_rows = start == "guide"
    with opened(vae, x, known, seed, rows=needs_rows, skip_checks=skip_checks) as (program, split):
        path = Path(program, split, num_temperatures, num_chains, num_leapfrogs, start)
        found = (
            _summary(*path.anneal(path.sizes(batch), path.draw(batch), batch))
            for batch in own_batches(split, rows_at_once(split, num_chains))
        )
        chunks = ranks.here().in_order(found, split.device)
    return Annealed(*(torch.cat(field) for field in zip(*chunks)))


@counted
def bdmc(
    vae: Any,
    num_data: int = 100,
    *,
    num_temperatures: int = 1000,
    num_chains: int = 4,
    num_leapfrogs: int = 10,
    start: Start = "prior",
    seed: int = 0,
    **known: Any,
) -> Sandwich:
    r"""Bounds :math:`\log p(x)` of simulated data from both sides (bidirectional Monte Carlo).

    Data drawn with their latent variable give an exact sample of the posterior. From there chains
    go back to the prior, and the mean of their weights is :math:`1 / p(x)`. Use it to see how
    far :func:`ais` may be off at this number of temperatures.

    References:
        | Measuring the Reliability of MCMC Inference with Bidirectional Monte Carlo
        | (Grosse et al., 2016), Sec. 3
        | https://arxiv.org/abs/1606.02275

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide. The model draws data when it is called as
            ``model(batch_size=num_data)``.
        num_data: The number of data to simulate.
        num_temperatures: As in :func:`ais`, like the arguments that follow.
        num_chains: The number of chains per datum in each direction.
        num_leapfrogs: The number of leapfrog steps in a move.
        start: ``"prior"``, or ``"guide"``.
        seed: Seeds data and chains.
        known: Conditions, a row for each of `num_data` data.

    Returns:
        Both bounds, and the data.
    """
    vae = as_program(vae)
    with undisturbed(vae, seed):
        values, split = simulate(vae, num_data, known)
        path = Path(vae, split, num_temperatures, num_chains, num_leapfrogs, start)
        exact = path.latents.join({name: value[None] for name, value in values.items()})
        lower, upper, done = [], [], 0
        for batch in batches(split, rows_at_once(split, num_chains)):
            ends = exact[:, done : done + len(batch[0])].expand(num_chains, -1, -1)
            sizes = path.sizes(batch)
            forward, _ = path.anneal(sizes, path.draw(batch), batch)
            back, _ = path.anneal(sizes, ends, batch, backwards=True)
            lower.append(forward.logsumexp(0) - log(num_chains))
            upper.append(log(num_chains) - back.logsumexp(0))
            done += len(batch[0])
    return Sandwich(torch.cat(lower), torch.cat(upper), split.rows(slice(None)))


class Path:
    r"""A path of densities from the start to the posterior, and chains along it."""

    def __init__(
        self,
        vae: Any,
        split: Split,
        num_temperatures: int,
        num_chains: int,
        num_leapfrogs: int,
        start: Start,
    ) -> None:
        self.num_chains, self.num_leapfrogs, self.start = num_chains, num_leapfrogs, start
        self.betas = schedule(num_temperatures).tolist()
        x, known = split.batch(slice(0, 2))
        self.latents = Unconstrained(vae, x, **known)
        elements = float(num_temperatures) * num_leapfrogs * num_chains
        self.staged = Staged(self.densities, vae, elements * len(split) * prod(split.x_shape))

    def draw(self, batch: Batch) -> Tensor:
        r"""Draws from the start, of shape `(C, B, dim)`."""
        return self.latents.draw(self.num_chains, self.start, batch[0], **batch[1])

    def densities(self, u: Tensor, x: Tensor, **known: Tensor) -> list[Tensor]:
        r"""Returns :math:`\log f_0(u)`, :math:`\log p(x, u) / f_0(u)` and their gradients."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            base, rest = self.latents.joint(u, x, **known)
            if self.start == "guide":
                target, base = base + rest, self.latents.guide(u, x, **known)
                rest = target - base
            slopes = [
                torch.autograd.grad(
                    value.sum(), u, retain_graph=value is base, materialize_grads=True
                )[0]
                for value in (base, rest)
            ]
        return [base.detach(), rest.detach(), *slopes]

    def evaluate(self, u: Tensor, batch: Batch) -> Sequence[Tensor]:
        r"""As :meth:`densities`, compiled where that pays."""
        return self.staged(u, batch[0], **batch[1])

    def sizes(self, batch: Batch) -> Tensor:
        r"""Finds step sizes by chains of their own, of shape `(T + 1, B)`."""
        betas = schedule(max(2, (len(self.betas) - 1) // PILOT))
        u = self.draw(batch)
        state = self.evaluate(u, batch)
        size = u.new_full(u.shape[1:2], 0.2)
        found = [size]
        for beta in betas[1:].tolist():
            u, state, accepted = self.move(u, state, beta, size, batch)
            size = size * (ADAPTATION * (accepted.mean(0) - ACCEPTANCE)).exp()
            found.append(size)
        place = np.searchsorted(betas, self.betas).clip(max=len(betas) - 1)
        return torch.stack(found)[torch.from_numpy(place).to(u.device)]

    def anneal(
        self, sizes: Tensor, u: Tensor, batch: Batch, backwards: bool = False
    ) -> tuple[Tensor, Tensor]:
        r"""Takes chains along the path.

        Arguments:
            sizes: Step sizes, of shape `(T + 1, B)`.
            u: Samples of one end, of shape `(C, B, dim)`.
            batch: The data, and what goes with them.
            backwards: Whether that end is the posterior.

        Returns:
            Log weights in double precision and the acceptance, each of shape `(C, B)`.
        """
        betas = self.betas
        order = range(len(betas) - 1, -1, -1) if backwards else range(len(betas))
        state = self.evaluate(u, batch)
        log_weights = u.new_zeros(u.shape[:2], dtype=torch.float64)
        accepted = torch.zeros_like(log_weights)
        for before, here in pairwise(order):
            log_weights += (betas[here] - betas[before]) * state[1].double()
            if here != order[-1]:  # what moves at the end carries no weight
                u, state, share = self.move(u, state, betas[here], sizes[here], batch)
                accepted += share
        return log_weights, accepted / max(1, len(betas) - 2)

    def move(
        self, u: Tensor, state: Sequence[Tensor], beta: float, size: Tensor, batch: Batch
    ) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        r"""Makes a Hamiltonian move that leaves :math:`f_\beta` invariant."""
        step = (size * (0.8 + 0.4 * torch.rand_like(size)))[:, None]  # against resonance
        momentum = torch.randn_like(u)
        before = state[0] + beta * state[1] - momentum.square().sum(-1) / 2
        place, there = u, state
        momentum = momentum + step / 2 * (there[2] + beta * there[3])
        for i in range(self.num_leapfrogs):
            place = place + step * momentum
            there = self.evaluate(place, batch)
            half = 2 if i == self.num_leapfrogs - 1 else 1
            momentum = momentum + step / half * (there[2] + beta * there[3])
        after = there[0] + beta * there[1] - momentum.square().sum(-1) / 2
        share = (after - before).exp().nan_to_num(nan=0.0).clamp(max=1)
        yes = torch.rand_like(share) < share
        wide = yes[..., None]
        new = [
            torch.where(wide if a.dim() == wide.dim() else yes, a, b) for a, b in zip(there, state)
        ]
        return torch.where(wide, place, u), new, share


def schedule(num_temperatures: int, delta: float = 4.0) -> np.ndarray:
    r"""Returns sigmoidal inverse temperatures from 0 to 1, close to each other at either end.

    .. math:: \beta_t \propto \sigma(\delta (2 t / T - 1)) - \sigma(-\delta)

    References:
        | On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017), App. A
        | https://arxiv.org/abs/1611.04273
    """
    curve = 1 / (1 + np.exp(-delta * np.linspace(-1, 1, num_temperatures + 1)))
    return (curve - curve[0]) / (curve[-1] - curve[0])


def _summary(log_weights: Tensor, acceptance: Tensor) -> Annealed:
    total, squares = log_weights.logsumexp(0), (2 * log_weights).logsumexp(0)
    return Annealed(*log_mean(total, squares, len(log_weights)), acceptance.mean(0))
