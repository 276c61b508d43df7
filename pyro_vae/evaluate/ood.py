r"""Are data of another kind? Scores of each datum, and how well they tell two sets apart."""

from math import hypot, isfinite
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checks import Data, take
from ..counted import counted
from ..programs import as_program
from ..statistics import Mean
from .gaps import default_families, gap_ledger
from .importance import log_marginal


class OODScores(NamedTuple):
    r"""How strange each datum is to a model, each of shape `(B,)`, in nats; more is stranger.

    Attributes:
        likelihood: :math:`-\log p(x)`.
        regret: Likelihood regret, :math:`\max_q \mathcal{L}(x; q) - \mathcal{L}(x; q(z \mid x))`:
            what the encoder loses at this datum, which is the amortization gap.
        typicality: :math:`|\log p(x) - \mathbb{E} \log p|`, how far the datum is from as likely as
            data of the model are.
    """

    likelihood: Tensor
    regret: Tensor
    typicality: Tensor


class Detection(NamedTuple):
    r"""How well scores tell strange data from a model's own.

    Attributes:
        inside: The scores of data of the model's kind.
        outside: Those of others.
    """

    inside: OODScores
    outside: OODScores

    @property
    def auroc(self) -> dict[str, Mean]:
        r"""The area under the ROC curve of each score (:func:`auroc`)."""
        pairs = zip(OODScores._fields, self.inside, self.outside)
        return {name: auroc(inside, outside) for name, inside, outside in pairs}

    def record(self) -> dict[str, float]:
        r"""Returns the areas, and mean :math:`\log p(x)` of data of both kinds, as JSON values."""
        found = Mean.of(-self.inside.likelihood).record("log_p_inside")
        found |= Mean.of(-self.outside.likelihood).record("log_p_outside")
        for name, mean in self.auroc.items():
            found |= mean.record(f"auroc_{name}")
        return found

    def __str__(self) -> str:
        lines = [f"{len(self.outside[0])} strange data among {len(self.inside[0])} others, AUROC:"]
        lines += [f"  {name:12s}{float(m):.3f} {m.error}" for name, m in self.auroc.items()]
        return "\n".join(lines)


@counted
def ood_detection(
    vae: Any,
    inside: Data,
    outside: Data,
    reference: Data,
    *,
    num_samples: int = 100,
    num_steps: int = 100,
    num_particles: int = 8,
    seed: int = 0,
) -> Detection:
    r"""Scores data of a model's kind and others, by :func:`ood_scores`.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        inside: Data of its kind that it was not trained on, of shape `(B, *x_shape)`.
        outside: Data of another kind.
        reference: Further data of its kind, neither trained on nor in `inside`.
        num_samples: As in :func:`ood_scores`, as the arguments that follow.
    """
    mean = _mean_log_p(vae, reference, num_samples, seed)
    options: dict[str, Any] = {"num_samples": num_samples, "num_steps": num_steps, "seed": seed}
    options["num_particles"] = num_particles
    return Detection(*(ood_scores(vae, x, mean, **options) for x in (inside, outside)))


@counted
def ood_scores(
    vae: Any,
    x: Data,
    reference: Data | float,
    *,
    num_samples: int = 100,
    num_steps: int = 100,
    num_particles: int = 8,
    seed: int = 0,
) -> OODScores:
    r"""Scores how strange data are to a model.

    A likelihood alone is a trap: simple data of another kind may be more likely than the model's
    own, as a density is high where data have little to them. Regret and typicality ask whether the
    encoder knows the datum, and whether it is as likely as data usually are.

    References:
        | Likelihood Regret: An Out-of-Distribution Detection Score For Variational Auto-encoder
        | (Xiao et al., 2020), https://arxiv.org/abs/2003.02977. Freed here are the
          encoder's outputs for each datum, as in :func:`pyro_vae.gap_ledger`.
        | Detecting Out-of-Distribution Inputs to Deep Generative Models Using Typicality
        | (Nalisnick et al., 2019), for one datum, https://arxiv.org/abs/1906.02994

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`.
        reference: Data of the model's kind that it was not trained on, or the mean of their
            :math:`\log p(x)`.
        num_samples: The number of importance samples of :math:`\log p(x)`, and of samples that
            bounds are measured with.
        num_steps: The number of steps of the search for the best `q` in its first round.
        num_particles: The number of samples per datum in a step.
        seed: Seeds the samples.
    """
    if isinstance(reference, Real) or (isinstance(reference, Tensor) and not reference.dim()):
        known = float(reference)
    else:
        known = _mean_log_p(vae, reference, num_samples, seed)  # type: ignore[arg-type]
    if not isfinite(known):
        raise ValueError(
            f"Expected reference data, or the mean of their log p(x), a number; got {known}."
        )
    log_p = log_marginal(vae, x, num_samples, seed=seed).log_marginal
    program = as_program(vae)
    families = default_families(program, *take(program, x).batch(slice(0, 2)))[:1]
    ledger = gap_ledger(
        vae,
        x,
        families,
        log_p=log_p,
        num_steps=num_steps,
        num_particles=num_particles,
        num_samples=num_samples,
        seed=seed,
    )
    return OODScores(-log_p, ledger.amortization, (log_p - known).abs())


def auroc(inside: Tensor, outside: Tensor) -> Mean:
    r"""Returns the area under the ROC curve: how often strange data have the higher score.

    .. math:: A = \frac{1}{m n} \sum_{i, j} \left(1\{s_i > t_j\} + \tfrac{1}{2} 1\{s_i = t_j\}
        \right), \quad \mathrm{se}^2 = \frac{s^2(A_{i \cdot})}{m} + \frac{s^2(A_{\cdot j})}{n}

    over all pairs of `m` strange data and `n` others, with :math:`A_{i \cdot}` the mean over the
    pairs of a strange datum, and :math:`A_{\cdot j}` that of another. Half is chance.

    References:
        | Comparing the Areas under Two or More Correlated Receiver Operating Characteristic
        | Curves: A Nonparametric Approach (DeLong et al., 1988)

    Arguments:
        inside: The scores of ordinary data, of shape `(n,)`.
        outside: Those of strange ones, of shape `(m,)`.

    Raises:
        ValueError: There are no scores, or one is not a number.

    Example:
        >>> print(auroc(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.5, 4.0])))
        0.833 +- 0.236 AUROC
    """
    inside, outside = (torch.as_tensor(scores).flatten() for scores in (inside, outside))
    if not len(inside) or not len(outside) or inside.isnan().any() or outside.isnan().any():
        raise ValueError(
            "Expected scores of one datum of each kind at least, all of them numbers; got "
            f"{len(inside)} and {len(outside)}, of which {int(inside.isnan().sum())} and "
            f"{int(outside.isnan().sum())} are NaN."
        )
    strange = _share_below(outside, inside)
    ordinary = 1 - _share_below(inside, outside)
    error = hypot(*(Mean.of(part).se for part in (strange, ordinary)))
    return Mean(strange.mean(), error, "AUROC")


def _share_below(values: Tensor, others: Tensor) -> Tensor:
    r"""The share of others below each value, equal ones by half."""
    ordered = others.sort().values
    values = values.contiguous()
    low, high = (torch.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return (low + high).double() / (2 * len(others))


def _mean_log_p(vae: Any, x: Data, num_samples: int, seed: int) -> float:
    return float(log_marginal(vae, x, num_samples, seed=seed).log_marginal.mean())
