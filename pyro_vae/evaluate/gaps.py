r"""Why is the bound not higher? The gap between ELBO and log p(x), datum by datum."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checks import Data, opened
from ..counted import counted
from ..programs import Unconstrained, as_program, is_vae, rows_at_once
from ..statistics import Mean
from .importance import log_marginal
from .optima import REACH, Rise, Search, bound_of, contains, has_own, starting_values


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

    def mean(self, gap: Tensor) -> Mean:
        r"""The mean of a gap, with an error over data and by what its optimization may still
        lack; infinite where nobody knows that."""
        over_data, rise = Mean.of(gap), next(iter(self.rises.values()))
        error = (over_data.se**2 + rise.left**2 + rise.gain.se**2) ** 0.5
        return Mean(over_data, error)

    def error(self, values: Tensor) -> float:
        r"""The standard error of the mean of a gap, as :meth:`mean` has it."""
        return self.mean(values).se

    def __str__(self) -> str:
        bounds = {"log p(x)": self.log_marginal}
        bounds |= {f"ELBO, best {name} q": bound for name, bound in reversed(self.optima.items())}
        rows = {name: Mean.of(bound) for name, bound in {**bounds, "ELBO": self.elbo}.items()}
        rows["approximation gap"] = self.mean(self.approximation)
        rows["amortization gap"] = self.mean(self.amortization)
        lines = [f"{len(self.elbo)} data, nats per datum, +- standard error"]
        lines += [f"  {name:28s}{mean:10.3f} {mean.error}" for name, mean in rows.items()]
        if "own" not in self.optima:
            first = next(iter(self.optima))
            lines.append(f"  There is no own family: gaps are against the best {first} q.")
        for name, rise in self.rises.items():
            if not rise.ended:
                why = f"it still rose by {rise.gain:.3f} {rise.gain.error} in its last round"
                why = "its steps did not reach far" if rise.reach < REACH else why
                lines.append(
                    f"  The bound of the best {name} q has not converged, {why}. Take more "
                    "num_steps."
                )
        return "\n".join(lines)


@counted
def gap_ledger(
    vae: Any,
    x: Data,
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
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The ledger. A model of several latent sites has no family of its own: its gaps are
        against mean-field ones.

    Raises:
        ValueError: A family is unknown, ``"own"`` is used for a program without an encoder, or
            latent variables are discrete and the family is not ``"own"``.
    """
    vae = as_program(vae)
    if "own" in (families or ()) and not has_own(vae):
        what = "several latent sites" if is_vae(vae) else "a model and a guide"
        raise ValueError(
            "Expected a VAE with one latent site, whose encoder says what the parameters of its "
            f'own family are; got {what}. Take "mean-field" or "full-covariance".'
        )
    optima: dict[str, Tensor] = {}
    rises: dict[str, Rise] = {}
    with opened(vae, x, known, seed, freeze=True, skip_checks=skip_checks) as (vae, split):
        every = torch.arange(len(split), device=split.device)
        families = families or default_families(vae, *split.batch(every[:2]))
        amortized = bound_of(vae, split, num_samples, seed)
        before: Any = None
        for family in families:
            parts = []
            for rows in every.split(rows_at_once(split, num_particles)):
                some, more = split.batch(rows)
                parts.append(starting_values(vae, some, family, more, before, rows))
            search = Search(vae, split, family, num_particles, num_samples, seed)
            values, rises[family] = search.run(torch.cat(parts), num_steps, lr)
            free, bound = search.measure(values, seed)
            for smaller, other in {"own": amortized, **optima}.items():
                if contains(vae, smaller, family):
                    bound = torch.maximum(bound, other)
            optima[family], before = bound, free
        if log_p is None:
            own_rows = split.knowing(index=every)
            estimate = log_marginal(free, own_rows, 5 * num_samples, seed=seed, skip_checks=True)
            log_p = estimate.log_marginal
    return Ledger(log_p.to(amortized), amortized, optima, rises)


def default_families(vae: Any, x: Tensor, known: dict[str, Any]) -> tuple[str, ...]:
    r"""The family of a VAE's posterior, and full covariance where latent variables are real."""
    first = "own" if has_own(vae) else "mean-field"
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
