r"""Why is the bound not higher? The gap between ELBO and log p(x), datum by datum."""

from collections.abc import Sequence
from math import cos, inf, pi, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..base import Posterior
from ..counted import counted
from ..data import Split
from ..distributions import IndependentBernoulli
from ..distributions.discrete import OneHots
from ..objectives import plan
from ..posteriors import FullCovarianceNormal, Householder, LowRankNormal, MeanFieldNormal
from ..programs import Unconstrained, as_program, is_vae, undisturbed, weigh
from ..randomness import stream
from .checks import check_rows, take
from .coordinates import ascend, expected, joint_table
from .free import free_program, starting_values
from .importance import ELEMENTS_AT_ONCE, elbo, log_marginal
from .staged import Staged

ROUNDS = 5
ENOUGH = 0.02  # nats: what may be left
SMALL = 0.01  # nats: a rise whose quotient is mostly noise
REACH = 0.5  # how far a round must be able to take a parameter to show that there is no more
SUMMED_AT_ONCE = 200
NORMALS = (MeanFieldNormal, LowRankNormal, Householder, FullCovarianceNormal)


class Rise(NamedTuple):
    r"""What the last round of an optimization brought.

    Attributes:
        mean: By how much the bound rose, on average over data, in nats.
        se: The standard error of that.
        before: The same of the round before it.
        reach: How far its steps could take a parameter together: the sum of learning rates.
    """

    mean: float
    se: float
    before: float = inf
    reach: float = inf

    @property
    def left(self) -> float:
        r"""What further rounds would bring, if they rise by one quotient as the last two did.

        It is infinite where the last one rose by as much as the one before, or could not go far.
        """
        rise = max(0.0, self.mean)
        if self.reach < REACH:
            return inf
        quotient = rise / self.before if self.before > 0 else float(rise > 0)
        quotient = min(quotient, 0.9) if rise < SMALL else quotient
        return inf if quotient >= 1 else rise * max(1.0, quotient / (1 - quotient))

    @property
    def ended(self) -> bool:
        r"""Whether the bound has stopped rising."""
        return self.left < ENOUGH


class Ledger(NamedTuple):
    r"""What an amortized posterior loses, each tensor of shape `(B,)`, in nats.

    .. math::
        \log p(x) - \mathcal{L}[q] = \underbrace{\log p(x) - \mathcal{L}[q^*]}_\text{approximation}
            + \underbrace{\mathcal{L}[q^*] - \mathcal{L}[q]}_\text{amortization}

    Attributes:
        log_marginal: :math:`\log p(x)`.
        elbo: The bound of the amortized posterior, :math:`\mathcal{L}[q]`.
        optima: For each family the bound of its best member for each datum,
            :math:`\mathcal{L}[q^*]`; the first is the one that the gaps are about.
        rises: For each family what the last round of its optimization brought.
    """

    log_marginal: Tensor
    elbo: Tensor
    optima: dict[str, Tensor]
    rises: dict[str, Rise]

    @property
    def approximation(self) -> Tensor:
        r"""What the family cannot express."""
        return self.log_marginal - next(iter(self.optima.values()))

    @property
    def amortization(self) -> Tensor:
        r"""What one encoder for all data loses against parameters for each."""
        return next(iter(self.optima.values())) - self.elbo

    @property
    def converged(self) -> bool:
        r"""Whether the bounds have stopped rising."""
        return all(rise.ended for rise in self.rises.values())

    def error(self, values: Tensor) -> float:
        r"""The standard error of the mean of a gap: over data, and by what its optimization may
        still lack; infinite where nobody knows that."""
        over_data = float(values.std()) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        rise = next(iter(self.rises.values()))
        return (over_data**2 + rise.left**2 + rise.se**2) ** 0.5

    def __str__(self) -> str:
        rows = {"log p(x)": self.log_marginal}
        rows |= {f"ELBO, best {name} q": bound for name, bound in reversed(self.optima.items())}
        rows |= {"ELBO": self.elbo}
        rows |= {"approximation gap": self.approximation, "amortization gap": self.amortization}
        count = len(self.elbo)
        lines = [f"{count} data, nats per datum, +- standard error"]
        for name, values in rows.items():
            error = float(values.std()) / count**0.5 if count > 1 else float("nan")
            error = self.error(values) if "gap" in name else error
            lines.append(f"  {name:28s}{float(values.mean()):10.3f} +- {error:.3f}")
        if "own" not in self.optima:
            first = next(iter(self.optima))
            lines.append(f"  There is no own family: gaps are against the best {first} q.")
        for name, rise in self.rises.items():
            if not rise.ended:
                short = rise.reach < REACH
                why = (
                    "its steps did not reach far"
                    if short
                    else (f"it still rose by {rise.mean:.3f} +- {rise.se:.3f} in its last round")
                )
                lines.append(
                    f"  The bound of the best {name} q has not converged, {why}. Take more "
                    "num_steps."
                )
        return "\n".join(lines)


@counted
def gap_ledger(
    vae: Any,
    x: Tensor | np.ndarray | Split,
    families: Sequence[str] | None = None,
    *,
    log_p: Tensor | None = None,
    num_steps: int = 500,
    num_particles: int = 8,
    num_samples: int = 1000,
    lr: float = 0.02,
    seed: int = 0,
    skip_checks: bool = False,
    **known: Any,
) -> Ledger:
    r"""Splits the gap between ELBO and :math:`\log p(x)` into its causes.

    For every datum, free variational parameters are optimized by Adam from where the encoder put
    them, all data at once: in the family of the posterior itself, and in richer ones, which start
    where the one before ended. What they gain is the amortization gap, which a better encoder can
    close; what is left is the approximation gap, which only another family can. The means of both
    on training data against test data are the generalization of the encoder.

    Optimization goes on in rounds, of five at most, until the mean bound has stopped rising; for
    every datum the best parameters of all rounds are kept. A posterior of independent discrete
    features whose joint values can be listed is optimized and measured without samples, by
    coordinate ascent before the rounds.

    References:
        | Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018), Eq. 5 to 8
        | https://arxiv.org/abs/1801.03558

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        families: Which, of ``"own"`` (of a VAE: its encoder's outputs are freed), and of
            ``"mean-field"``, ``"full-covariance"`` and ``"planar"`` over all latent variables
            mapped to the real line. By default the own one, or mean-field, and full covariance.
        log_p: :math:`\log p(x)`, of shape `(B,)`, such as that of :func:`pyro_vae.ais`. Without
            it, it is estimated by importance sampling from the last family's best members.
        num_steps: The number of optimization steps in the first round; later ones have half of it.
        num_particles: The number of samples per datum in a step.
        num_samples: The number of samples per datum that bounds are measured with.
        lr: The learning rate at the start; it falls to zero along a cosine.
        seed: Seeds the samples.
        skip_checks: As in :func:`pyro_vae.log_marginal`.
        known: What the programs take besides, a row for each datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The ledger. A model of several latent sites has no family of its own: its gaps are
        against mean-field ones.

    Raises:
        ValueError: A family is unknown, ``"own"`` is asked of a program without an encoder, or
            latent variables are discrete and another family than ``"own"`` is asked for.
    """
    vae = as_program(vae)
    if "own" in (families or ()) and not _has_own(vae):
        what = "several latent sites" if is_vae(vae) else "a model and a guide"
        raise ValueError(
            "Expected a VAE with one latent site, whose encoder says what the parameters of its "
            f'own family are; got {what}. Take "mean-field" or "full-covariance".'
        )
    optima: dict[str, Tensor] = {}
    rises: dict[str, Rise] = {}
    with undisturbed(vae, seed) as device:
        split = take(vae, x, known, skip_checks=skip_checks).freeze(seed)
        check_rows(vae, split.known)
        every = torch.arange(len(split), device=device)
        families = families or default_families(vae, *split.batch(every[:2]))
        amortized = _bound(vae, split, num_samples, seed)
        before: Any = None
        for family in families:
            values = torch.cat(
                [
                    starting_values(vae, x, family, more, before, rows)
                    for rows in every.split(_rows_at_once(split, num_particles))
                    for x, more in [split.batch(rows)]
                ]
            )
            search = _Search(vae, split, family, num_particles, num_samples, seed)
            values, rises[family] = search.run(values, num_steps, lr)
            free, bound = search.measure(values, seed)
            for smaller, other in {"own": amortized, **optima}.items():
                if _contains(vae, smaller, family):
                    bound = torch.maximum(bound, other)
            optima[family], before = bound, free
        if log_p is None:
            own_rows = split.knowing(index=every)
            estimate = log_marginal(free, own_rows, 5 * num_samples, seed=seed, skip_checks=True)
            log_p = estimate.log_marginal
    return Ledger(log_p.to(amortized), amortized, optima, rises)


class _Search:
    r"""The search for the best members of a family, one for each datum."""

    def __init__(
        self,
        vae: Any,
        split: Split,
        family: str,
        num_particles: int,
        num_samples: int,
        seed: int,
    ) -> None:
        self.vae, self.split, self.family = vae, split, family
        self.num_particles, self.num_samples, self.seed = num_particles, num_samples, seed
        self.every = torch.arange(len(split), device=split.device)

    def run(self, values: Tensor, num_steps: int, lr: float) -> tuple[Tensor, Rise]:
        r"""Returns the best values, and what the last round brought."""
        best, choice = values, stream(self.seed, "choice")
        fresh = stream(self.seed, "rise")  # what was chosen looks better on its own noise
        bound = self.measure(best, choice)[1]
        settled = self.settle(best)
        if settled is not None:
            best, bound = _better(best, bound, settled, self.measure(settled, choice)[1])
        told = self.measure(best, fresh)[1]
        parts = self.every.split(_rows_at_once(self.split, self.num_particles))
        before = inf
        for turn in range(ROUNDS):
            steps = num_steps if turn == 0 else max(1, num_steps // 2)
            new = torch.cat([self.optimize(best[rows], rows, steps, lr) for rows in parts])
            best, bound = _better(best, bound, new, self.measure(new, choice)[1])
            told, gain = (now := self.measure(best, fresh)[1]), now - told
            reach = inf if settled is not None else lr * steps / 2
            rise = Rise(float(gain.mean()), _se(gain), before, reach)
            before = rise.mean
            if turn and rise.ended:
                break
        return best, rise

    def settle(self, values: Tensor) -> Tensor | None:
        r"""Returns the values where coordinate ascent ends, if joint values can be listed."""
        if self.family != "own":
            return None
        parts = []
        for rows in self.every.split(SUMMED_AT_ONCE):
            x, known = self.split.batch(rows)
            if [*known] not in ([], ["index"]):  # joint values are listed for x alone
                return None
            program, _ = free_program(self.vae, x, "own", values[rows], known)
            program.eval()  # relaxed posteriors are what they relax
            q = program.posterior(x, torch.arange(len(x), device=x.device))
            found = ascend(program, q, x)
            if found is None:
                return None
            parts.append(found)
        return torch.cat(parts)

    def measure(self, values: Tensor, seed: int) -> tuple[Any, Tensor]:
        r"""Returns the program of some values and its bound for every datum."""
        x, known = self.split.batch(self.every[:2])
        free, _ = free_program(self.vae, x, self.family, values, known)
        return free, _bound(free, self.split.knowing(index=self.every), self.num_samples, seed)

    def optimize(self, values: Tensor, rows: Tensor, num_steps: int, lr: float) -> Tensor:
        r"""Returns better parameters for some rows, a row for each."""
        num_particles = self.num_particles
        x, known = self.split.batch(rows)
        program, parameters = free_program(self.vae, x, self.family, values, known)
        known["index"] = torch.arange(len(x), device=x.device)
        objective = None
        if self.family == "own":  # relaxed posteriors are evaluated as what they relax
            first = {name: value[:2] for name, value in known.items()}
            q = program.posterior(x[:2], first["index"])
            options: dict[str, Any] = {"known": first}
            if program.posterior.enumerable and q.has_enumerate_support:
                objective = plan(program, x[:2], "enumeration", **options).objective
            else:
                estimator = "auto" if q.has_rsample else "score-function"
                options["num_particles"] = num_particles
                objective = plan(program, x[:2], estimator, **options).objective

        def loss(x: Tensor, **known: Tensor) -> list[Tensor]:
            more: dict[str, Any] = {**known}
            with torch.enable_grad():
                if objective is None:
                    weights = weigh(program.model, program.guide, x, num_particles, **more)
                    value = -weights.log_weights.mean()
                else:
                    value = objective(program.model, program.guide, x, **more).loss
                return [torch.autograd.grad(value * len(x), parameters)[0]]

        gradient = Staged(loss, program, float(num_steps) * num_particles * x.numel())
        adam = torch.optim.Adam([parameters], lr=lr)
        late = torch.zeros_like(parameters)
        for step in range(num_steps):
            adam.param_groups[0]["lr"] = lr * (1 + cos(pi * step / num_steps)) / 2
            parameters.grad = gradient(x, **known)[0]
            adam.step()
            if step >= num_steps // 2:  # the noise of late steps averages out
                late += parameters.detach() / (num_steps - num_steps // 2)
        return late


def _bound(program: Any, split: Split, num_samples: int, seed: int) -> Tensor:
    r"""The ELBO of each datum; a sum, where the values of the posterior can be listed."""
    if _has_own(program) and [*split.known] in ([], ["index"]):
        posterior, parts = program.posterior, []
        for rows in torch.arange(len(split), device=split.device).split(SUMMED_AT_ONCE):
            x, known = split.batch(rows)
            q = posterior(x, known["index"]) if posterior.index else posterior(x)
            if not isinstance(q, IndependentBernoulli | OneHots) or not q.has_enumerate_support:
                break
            parts.append(expected(q, *joint_table(program, q, x)))
        else:
            return torch.cat(parts)
    return elbo(program, split, num_samples, seed=seed, skip_checks=True)


def _better(best: Tensor, bound: Tensor, new: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    r"""The better parameters of each datum, and their bound."""
    higher = there > bound
    return torch.where(higher[:, None], new, best), torch.where(higher, there, bound)


def _se(values: Tensor) -> float:
    return float(values.std()) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _contains(vae: Any, smaller: str, family: str) -> bool:
    r"""Whether each member of a family is one of another: Normals, of richer covariance."""
    posterior = getattr(vae, "posterior", None)
    posterior = getattr(posterior, "family", posterior)
    if smaller == "mean-field" or (smaller == "own" and isinstance(posterior, MeanFieldNormal)):
        return family in ("full-covariance", "planar")
    return smaller == "own" and isinstance(posterior, NORMALS) and family == "full-covariance"


def default_families(vae: Any, x: Tensor, known: dict[str, Any]) -> tuple[str, ...]:
    r"""The family of a VAE's posterior, and full covariance where latent variables are real."""
    first = "own" if _has_own(vae) else "mean-field"
    try:
        if first == "own":
            starting_values(vae, x, first, known)
    except ValueError:
        first = "mean-field"
    try:
        Unconstrained(vae, x, **known)
    except ValueError:
        return (first,)
    return first, "full-covariance"


def _has_own(vae: Any) -> bool:
    r"""Whether there is one family whose parameters an encoder gives."""
    return isinstance(getattr(vae, "posterior", None), Posterior)


def _rows_at_once(split: Split, num_particles: int) -> int:
    return max(1, ELEMENTS_AT_ONCE // (prod(split.x_shape) * num_particles))
