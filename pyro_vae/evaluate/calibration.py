r"""Is the posterior what it says? Everything that data simulated from the model can tell."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor

from ..checks import check_rows
from ..counted import counted
from ..deprecation import renamed
from ..programs import (
    as_program,
    density_of,
    guide_name,
    log_density,
    sample_sites,
    simulate,
    traces,
    undisturbed,
)
from ..statistics import uniformity

ROWS_AT_ONCE = 500
QUANTITIES = ("log p(x, z)", "log p(x | z)", "log p(z)")


class Calibration(NamedTuple):
    r"""The result of simulation-based calibration.

    Attributes:
        ranks: The rank of each true latent feature among draws from the posterior, from 0 to
            `num_draws`, of shape `(num_simulations, dim)`.
        density_ranks: The ranks of :math:`\log p(x, z), \log p(x \mid z)` and :math:`\log p(z)` of
            the true `z`, of shape `(num_simulations, 3)`.
        p_values: Of the hypothesis that ranks are uniform, of each feature and then of the three
            densities, of shape `(dim + 3,)`.
        p_value: The smallest of them, times their number (Bonferroni): it holds however they
            depend on each other, which densities of `z` and its features do.
        num_draws: The number of draws.
        contraction: :math:`1 - \mathrm{Var}_q(z) / \mathrm{Var}_p(z)` of each feature on average
            over data, of shape `(dim,)`: 1 where data determine it, 0 where they say nothing; NaN
            where the prior does not vary. Under conditions :math:`\mathrm{Var}_p(z)` is what they
            leave.
        z_score: The mean of :math:`(\mathbb{E}_q z - z^*) / \mathrm{sd}_q(z)` of each feature, of
            shape `(dim,)`: 0 where the posterior is not biased.
        z_spread: The root mean square of the same, of shape `(dim,)`: 1 where the posterior is as
            wide as it says, above where it is too narrow. What few draws add to it, if they are
            Normal, is taken out.

    Both scores are NaN where all draws for some datum are equal, as those of discrete features may
    be: there is no standard deviation to measure in.
    """

    ranks: Tensor
    density_ranks: Tensor
    p_values: Tensor
    p_value: float
    num_draws: int
    contraction: Tensor
    z_score: Tensor
    z_spread: Tensor

    def coverage(self, level: float) -> Tensor:
        r"""Returns how often central intervals of a level hold the truth, of shape `(dim,)`."""
        place = (self.ranks.double() + 0.5) / (self.num_draws + 1)
        return ((place - 0.5).abs() <= level / 2).double().mean(0)

    @property
    def p(self) -> str:
        r"""The p value in words: no computation has more digits than these."""
        return f"p = {self.p_value:.2g}" if self.p_value >= 1e-16 else "p < 1e-16"

    @property
    def worst(self) -> str:
        r"""What is farthest from uniform: a latent feature by its number, or a density."""
        place = int(self.p_values.argmin())
        dim = self.ranks.shape[1]
        return f"latent feature {place}" if place < dim else QUANTITIES[place - dim]


@counted
def sbc(
    vae: Any, num_simulations: int = 500, num_draws: int = 99, *, seed: int = 0, **known: Any
) -> Calibration:
    r"""Checks an amortized posterior on data simulated from the model.

    If :math:`z^*, x \sim p(z) \, p(x \mid z)` and :math:`q(z \mid x)` is the posterior, the rank
    of :math:`z^*` among draws from q is uniform. Ranks pile up at both ends where q is too narrow,
    in the middle where it is too wide, at one end where it is biased. They do not see a posterior
    that never looked at the data, :math:`q(z \mid x) = p(z)`; ranks of quantities that depend on
    the data do, and :math:`\log p(x \mid z)` is one.

    Uniformity is tested by the distribution function of the ranks: the statistic is the smallest
    of its binomial tail probabilities over all points, and its null distribution is simulated.

    References:
        | Validating Bayesian Inference Algorithms with Simulation-Based Calibration
        | (Talts et al., 2018), Algorithm 1 and Theorem 1
        | https://arxiv.org/abs/1804.06788
        | Simulation-Based Calibration Checking: The Choice of Test Quantities Shapes Sensitivity
        | (Modrak et al., 2023), Sec. 3
        | https://arxiv.org/abs/2211.02383
        | Graphical Test for Discrete Uniformity (Saeilynoja et al., 2022), Sec. 2
        | https://arxiv.org/abs/2103.10522

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide; the model draws data when it is called as
            ``model(batch_size=num_simulations)``.
        num_simulations: The number of simulated data.
        num_draws: The number of draws from the posterior for each.
        seed: Seeds data and draws, and breaks ties of discrete latent variables.
        known: Conditions, a row for each of `num_simulations` data.

    Raises:
        ValueError: There are fewer than 20 simulations or 9 draws, a draw or a density of it is
            NaN, or the posterior has parameters for its training data only.
    """
    vae = as_program(vae)
    if num_simulations < 20 or num_draws < 9:
        raise ValueError(
            "Expected 20 simulations and 9 draws at least, fewer of which tell nothing; got "
            f"{num_simulations} and {num_draws}."
        )
    check_rows(vae, {})
    with undisturbed(vae, seed):
        truth, split = simulate(vae, num_simulations, known)
        again = None
        if getattr(vae, "conditions", ()):  # the variance that the condition leaves
            other, _ = simulate(vae, num_simulations, known)
            again = _flat(other, truth, num_simulations).double()
        parts = [
            _of_rows(vae, *split.batch(rows), {n: v[rows] for n, v in truth.items()}, num_draws)
            for rows in torch.arange(num_simulations, device=split.device).split(ROWS_AT_ONCE)
        ]
    ranks, mean, variance, flat = (torch.cat(part) for part in zip(*parts))
    p_values = torch.tensor([uniformity(column, num_draws) for column in ranks.T.cpu().numpy()])
    worst = min(1.0, float(p_values.min()) * len(p_values))
    scores = (mean - flat) / variance.sqrt()
    scores = torch.where((variance == 0).any(0), torch.nan, scores)
    prior = flat.var(0) if again is None else (flat - again).square().mean(0) / 2
    few = num_draws * (num_draws - 3) / ((num_draws + 1) * (num_draws - 1))
    return Calibration(
        ranks[:, :-3],
        ranks[:, -3:],
        p_values,
        worst,
        num_draws,
        torch.where(prior == 0, torch.nan, 1 - variance.mean(0) / prior),
        scores.mean(0),
        (few * scores.square().mean(0)).sqrt(),  # Student's t of L - 1 degrees has the inverse
    )


@counted
def eubo(vae: Any, num_data: int = 500, *, seed: int = 0, **known: Any) -> tuple[Tensor, Tensor]:
    r"""Bounds :math:`\log p(x)` of simulated data from above, beside the ELBO of the same data.

    .. math:: \mathbb{E}_{p(z \mid x)} \log \frac{p(x, z)}{q(z \mid x)}
        = \log p(x) + \mathrm{KL}(p(z \mid x) \,\|\, q(z \mid x)) \geq \log p(x)

    A datum is simulated with the `z` behind it, which is a draw from its exact posterior, so that
    one evaluation gives the bound on average. What lies between both bounds is the Jeffreys
    divergence :math:`\mathrm{KL}(p \,\|\, q) + \mathrm{KL}(q \,\|\, p)` of posterior and guide;
    unlike the ELBO's gap, it grows where q is too narrow.

    References:
        | Beyond ELBOs: A Large-Scale Evaluation of Variational Methods for Sampling
        | (Blessing et al., 2024), Sec. 3
        | https://arxiv.org/abs/2406.07423

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide, as in :func:`sbc`.
        num_data: The number of data to simulate.
        seed: Seeds them.
        known: Conditions, a row for each of `num_data` data.

    Returns:
        The evidence upper bound, infinite where the guide has no density at a true value, and the
        ELBO of each datum, of one sample each, in nats, of shape `(num_data,)`: their means over
        data are the bounds.

    Raises:
        ValueError: The density of the guide is not available for any value: that of its own draws
            alone is known, or it has points of mass, or latent variables that the model has not.
    """
    vae = as_program(vae)
    check_rows(vae, {})
    with undisturbed(vae, seed):
        if density_of(vae) != "anywhere":
            raise ValueError(
                "Expected a posterior whose density is available for any value, as that of the "
                f"true z is; got {guide_name(vae)}, which has it for {density_of(vae)}."
            )
        truth, split = simulate(vae, num_data, known)
        upper, lower = [], []
        for rows in torch.arange(num_data, device=split.device).split(ROWS_AT_ONCE):
            x, more = split.batch(rows)
            values = {name: value[rows] for name, value in truth.items()}
            with poutine.condition(data=values):
                q, p = (
                    sample_sites(poutine.trace(program).get_trace(x, **more))
                    for program in (vae.guide, vae.model)
                )
            _check_sites(q, values)
            upper.append(_log_weight(q, p))
            lower.append(_log_weight(*traces(vae.model, vae.guide, x, 1, **more)))
    above, below = torch.cat(upper), torch.cat(lower)
    if bool(above.isnan().any()) or bool(below.isnan().any()):
        raise ValueError(
            "Expected numbers as log densities of simulated data; got NaN. Look at the parameters "
            "of the model and the posterior there."
        )
    return above, below


def _check_sites(q: Mapping[str, Any], truth: Mapping[str, Tensor]) -> None:
    r"""Refuses guides that have no density at the true values."""
    for name in truth:
        if name not in q:
            raise ValueError(
                f"Expected a guide that draws every latent variable of the model; got none for "
                f"{name!r}, whose density is missing then."
            )
        law = q[name]["fn"]
        while hasattr(law, "base_dist"):
            law = law.base_dist
        if isinstance(law, Delta):
            raise ValueError(
                f"Expected a guide whose density is available for any value; got {name!r}, a "
                "point where other values have none. Draw it from a density (of a transformed "
                "variable: TransformedDistribution) instead of an auxiliary variable and a point."
            )
    others = [name for name, site in q.items() if name not in truth]
    if others:
        raise ValueError(
            f"Expected a guide of the model's latent variables only; got {others[0]!r}, too, "
            "which would have to be integrated out of its density."
        )


def _of_rows(
    vae: Any, x: Tensor, known: dict[str, Any], truth: Mapping[str, Tensor], num_draws: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Ranks of the true values, moments of the draws, and the true values, for some data."""
    with poutine.condition(data=truth):
        p = sample_sites(poutine.trace(vae.model).get_trace(x, **known))
    flat = _flat(truth, truth, len(x))
    quantities = torch.cat([flat, _densities(p, truth)], 1)
    below, ties = torch.zeros_like(quantities), torch.zeros_like(quantities)
    total, squares = torch.zeros_like(flat.double()), torch.zeros_like(flat.double())
    first: Tensor | None = None
    varies = torch.zeros_like(flat, dtype=torch.bool)
    for _ in range(num_draws):
        q, p = traces(vae.model, vae.guide, x, 1, **known)
        draw = _flat({name: q[name]["value"] for name in truth}, truth, len(x))
        first = draw if first is None else first
        varies |= draw != first
        off = draw.double() - flat.double()
        total, squares = total + off, squares + off.square()
        draw = torch.cat([draw, _densities(p, truth)], 1)
        _check_numbers(draw, quantities)
        below += (draw < quantities).to(below.dtype)
        ties += (draw == quantities).to(ties.dtype)
    ranks = (below + (torch.rand_like(ties) * (ties + 1)).floor()).long()
    shift = total / num_draws
    variance = (squares / num_draws - shift.square()) * num_draws / (num_draws - 1)
    return ranks, flat + shift, variance.clamp(min=0) * varies, flat.double()


def _check_numbers(draw: Tensor, truth: Tensor) -> None:
    r"""Refuses what has no rank."""
    if bool(draw.isnan().any()) or bool(truth.isnan().any()):
        place = int((draw.isnan() | truth.isnan()).any(0).nonzero()[0])
        dim = draw.shape[1] - len(QUANTITIES)
        name = f"latent feature {place}" if place < dim else QUANTITIES[place - dim]
        raise ValueError(
            f"Expected numbers to rank; got NaN for {name} of simulated data. Look at the "
            "parameters of the model and the posterior there."
        )


def _flat(values: Mapping[str, Tensor], names: Mapping[str, Tensor], count: int) -> Tensor:
    return torch.cat([values[name].reshape(count, -1) for name in names], 1)


def _densities(p: Mapping[str, Any], latent: Mapping[str, Tensor]) -> Tensor:
    r""":data:`QUANTITIES` of each datum, of shape `(B, 3)`."""
    likelihood = log_density(p[n] for n in p if n not in latent)
    prior = log_density(p[n] for n in latent)
    return torch.stack([likelihood + prior, *torch.broadcast_tensors(likelihood, prior)], 1)


def _log_weight(q: Mapping[str, Any], p: Mapping[str, Any]) -> Tensor:
    return (log_density(p.values()) - log_density(q.values())).double()


_PREDICTIVE = ("PredictiveCheck", "STATISTICS", "interval_coverage", "predictive_check")
__getattr__ = renamed(
    __name__,
    {
        "band": "pyro_vae.statistics.band",
        **{name: f"pyro_vae.evaluate.predictive.{name}" for name in _PREDICTIVE},
    },
)
