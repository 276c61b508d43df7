r"""What the KL term consists of, on average over data: information, correlation, and the rest."""

from math import log
from typing import Any, NamedTuple

import torch

from ..checks import Data, opened
from ..counted import Size, counted
from ..objectives.decomposition import KLParts, aggregate
from ..objectives.kl import features_of
from ..programs import traces
from ..statistics import Mean
from .collapse import check_of_x_alone

NUMBERS_AT_ONCE = 4_000_000


class KLTerms(NamedTuple):
    r"""The three parts of the KL term as means over data, in nats per datum; they add up to it.

    Attributes:
        mutual_information: :math:`I_q(x; z)`, at most :math:`\log N` of `N` data.
        total_correlation: :math:`\mathrm{KL}(q(z) \,\|\, \prod_j q(z_j))`.
        dimension_kl: :math:`\sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))`.
        num_data: The number of data, whose mixture the aggregate posterior is.
    """

    mutual_information: Mean
    total_correlation: Mean
    dimension_kl: Mean
    num_data: int

    @property
    def cap(self) -> float:
        r""":math:`\log N`, which is all that the data can tell."""
        return log(self.num_data)

    def record(self) -> dict[str, float]:
        r"""Returns the parts as JSON values."""
        found: dict[str, float] = {"mutual_information_cap": self.cap}
        for name in KLParts._fields:
            found |= getattr(self, name).record(name)
        return found


@counted
def kl_terms(
    vae: Any, x: Data, num_samples: int = 1, *, max_data: Size = 2000, seed: int = 0, **known: Any
) -> KLTerms:
    r"""Splits the KL term of a VAE into mutual information, total correlation and dimension-wise
    KL (:class:`pyro_vae.objectives.KLParts`).

    The aggregate posterior is the exact mixture over all the data; only its samples are drawn, so
    that there is no bias of minibatches. What is left: `N` data show :math:`\log N` nats of
    information at most, and :math:`q(z)` of few data is more correlated than that of many.

    References:
        | Isolating Sources of Disentanglement in VAEs (Chen et al., 2018), Eq. 2
        | https://arxiv.org/abs/1802.04942

    Arguments:
        vae: The VAE, with one latent site whose features are independent in prior and posterior.
        x: The data, of shape `(B, *x_shape)`.
        num_samples: The number of samples of :math:`z` per datum.
        max_data: Only this many rows are used, spread evenly; the cost is quadratic in them.
        seed: Seeds the samples.
        known: Further inputs of the programs: row numbers as `index`.

    Returns:
        The parts, with standard errors over data.

    Raises:
        ValueError: There is no such latent site, or the model is about data under a condition.
    """
    with opened(vae, x, known, seed) as (program, split):
        some = split.take(split.spread(max_data))
        check_of_x_alone(some)
        rows, more = some.batch(slice(None))
        draws = [
            _parts(*traces(program.model, program.guide, rows, 1, **more))
            for _ in range(num_samples)
        ]
    mutual, correlation, dimension = (Mean.of(torch.stack(part).mean(0)) for part in zip(*draws))
    return KLTerms(mutual, correlation, dimension, len(rows))


def _parts(q: dict[str, Any], p: dict[str, Any]) -> KLParts:
    r"""The parts at a sample of each datum, in chunks of samples."""
    latent = [name for name in q if name in p]
    laws = [law["fn"] for name in latent for law in (q[name], p[name])]
    if len(q) != 1 or len(latent) != 1 or None in [features_of(law) for law in laws]:
        raise ValueError(
            "Expected one latent site, whose features are independent in prior and posterior, to "
            f"split its KL term; got {', '.join(q)}. See pv.evaluate.information."
        )
    law, prior, z = *laws, q[latent[0]]["value"]
    size = max(1, NUMBERS_AT_ONCE // z.numel())
    even = z.new_full((len(z), law.batch_shape[-1]), -log(law.batch_shape[-1]))
    sums = [aggregate(law, *part) for part in zip(z.split(size), even.split(size))]
    joint, marginals = (torch.cat(part) for part in zip(*sums))
    return KLParts(law.log_prob(z) - joint, joint - marginals, marginals - prior.log_prob(z))
