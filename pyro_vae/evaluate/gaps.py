r"""Why is the bound not higher? The gap between ELBO and log p(x), datum by datum."""

from collections.abc import Sequence
from math import cos, pi, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..base import Posterior
from ..data import Split
from ..objectives import plan
from ..objectives.base import weigh
from .checks import check_rows, take
from .free import free_program, starting_values
from .importance import ELEMENTS_AT_ONCE, elbo, log_marginal
from .program import as_program
from .pure import pure
from .staged import Staged
from .unconstrained import Unconstrained


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
    """

    log_marginal: Tensor
    elbo: Tensor
    optima: dict[str, Tensor]

    @property
    def approximation(self) -> Tensor:
        r"""What the family cannot express."""
        return self.log_marginal - next(iter(self.optima.values()))

    @property
    def amortization(self) -> Tensor:
        r"""What one encoder for all data loses against parameters for each."""
        return next(iter(self.optima.values())) - self.elbo

    def __str__(self) -> str:
        rows = {"log p(x)": self.log_marginal}
        rows |= {f"ELBO, best {name} q": bound for name, bound in reversed(self.optima.items())}
        rows |= {"ELBO": self.elbo}
        rows |= {"approximation gap": self.approximation, "amortization gap": self.amortization}
        count = len(self.elbo)
        lines = [f"{count} data, nats per datum, +- standard error over data"]
        for name, values in rows.items():
            error = float(values.std()) / count**0.5 if count > 1 else float("nan")
            lines.append(f"  {name:28s}{float(values.mean()):10.3f} +- {error:.3f}")
        return "\n".join(lines)


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
    index: Tensor | None = None,
    seed: int = 0,
    skip_checks: bool = False,
) -> Ledger:
    r"""Splits the gap between ELBO and :math:`\log p(x)` into its causes.

    For every datum, free variational parameters are optimized by Adam from where the encoder put
    them, all data at once: in the family of the posterior itself, and in richer ones. What they
    gain is the amortization gap, which a better encoder can close; what is left is the
    approximation gap, which only another family can. The means of both on training data against
    test data are the generalization of the encoder.

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
        num_steps: The number of optimization steps.
        num_particles: The number of samples per datum in a step.
        num_samples: The number of samples per datum that bounds are measured with.
        lr: The learning rate at the start; it falls to zero along a cosine.
        index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.
        seed: Seeds the samples.
        skip_checks: As in :func:`pyro_vae.log_marginal`.

    Returns:
        The ledger.

    Raises:
        ValueError: A family is unknown, ``"own"`` is asked of a program without an encoder, or
            latent variables are discrete and another family than ``"own"`` is asked for.
    """
    vae = as_program(vae)
    if "own" in (families or ()) and not _is_vae(vae):
        raise ValueError(
            "Expected a VAE, whose encoder says what the parameters of its own family are; got a "
            'model and a guide. Take "mean-field" or "full-covariance".'
        )
    check_rows(vae, index)
    optima = {}
    with pure(vae, seed) as device:
        split = take(vae, x, index, skip_checks=skip_checks).freeze(seed)
        every = torch.arange(len(split), device=device)
        some = split.rows(every[:2]), None if index is None else index[:2]
        families = families or default_families(vae, *some)
        for family in families:
            values = [
                _optimize(vae, split.rows(rows), family, index, rows, num_steps, num_particles, lr)
                for rows in every.split(_rows_at_once(split, num_particles))
            ]
            free, _ = free_program(vae, some[0], family, torch.cat(values), some[1])
            optima[family] = elbo(
                free, split, num_samples, index=every, seed=seed, skip_checks=True
            )
        if log_p is None:
            estimate = log_marginal(
                free, split, 5 * num_samples, index=every, seed=seed, skip_checks=True
            )
            log_p = estimate.log_marginal
        bound = elbo(vae, split, num_samples, index=index, seed=seed, skip_checks=True)
    return Ledger(log_p.to(bound), bound, optima)


def default_families(vae: Any, x: Tensor, index: Tensor | None) -> tuple[str, ...]:
    r"""The family of a VAE's posterior, and full covariance where latent variables are real."""
    first = "own" if _is_vae(vae) else "mean-field"
    try:
        Unconstrained(vae, x, **({} if index is None else {"index": index}))
    except ValueError:
        return (first,)
    return first, "full-covariance"


def _is_vae(vae: Any) -> bool:
    return isinstance(getattr(vae, "posterior", None), Posterior)


def _rows_at_once(split: Split, num_particles: int) -> int:
    return max(1, ELEMENTS_AT_ONCE // (prod(split.x_shape) * num_particles))


def _optimize(
    vae: Any,
    x: Tensor,
    family: str,
    index: Tensor | None,
    rows: Tensor,
    num_steps: int,
    num_particles: int,
    lr: float,
) -> Tensor:
    r"""Returns the best parameters of a family for some rows, a row for each."""
    index = None if index is None else index.to(x.device)[rows]
    values = starting_values(vae, x, family, index)
    program, parameters = free_program(vae, x, family, values, index)
    every = torch.arange(len(x), device=x.device)
    objective = None
    if family == "own":  # relaxed posteriors are evaluated as what they relax, without a path
        q = program.posterior(x[:2], every[:2])
        free_path = q.has_rsample or program.posterior.enumerable
        estimator = "auto" if free_path else "score-function"
        objective = plan(program, x[:2], estimator, num_particles=num_particles).objective

    def loss(x: Tensor, every: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            if objective is None:
                weights = weigh(program.model, program.guide, x, num_particles, index=every)
                value = -weights.log_weights.mean()
            else:
                value = objective(program.model, program.guide, x, index=every).loss
            return [torch.autograd.grad(value * len(x), parameters)[0]]

    gradient = Staged(loss, program, float(num_steps) * num_particles * x.numel())
    adam = torch.optim.Adam([parameters], lr=lr)
    late = torch.zeros_like(parameters)
    for step in range(num_steps):
        adam.param_groups[0]["lr"] = lr * (1 + cos(pi * step / num_steps)) / 2
        parameters.grad = gradient(x, every)[0]
        adam.step()
        if step >= num_steps // 2:  # the noise of late steps averages out
            late += parameters.detach() / (num_steps - num_steps // 2)
    return late
