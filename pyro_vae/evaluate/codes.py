r"""What the codes of a vector-quantized posterior cost, and which of them are used."""

from math import log, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..checks import Data, opened
from ..programs import batches, rows_at_once
from ..statistics import Mean


class CodeUse(NamedTuple):
    r"""What codes cost, in nats per datum, and which are used.

    Attributes:
        rate: :math:`-\log p(k)` of the codes of each datum by the learned prior.
        even_rate: :math:`n \log K`, what an even code would cost.
        distortion: :math:`-\log p(x \mid k)` of each datum.
        counts: How often each code is used, of shape `(K,)`.
        bits_per_dim: The bits for an element of discrete data by codes and learned prior.
        even_bits_per_dim: The same with an even code.
    """

    rate: Mean
    even_rate: float
    distortion: Mean
    counts: Tensor
    bits_per_dim: float
    even_bits_per_dim: float

    @property
    def perplexity(self) -> float:
        r"""How many codes, evenly used, would be as varied: the exponential of the entropy."""
        p = self.counts.double() / self.counts.sum()
        return float(torch.special.entr(p).sum().exp())

    @property
    def dead(self) -> int:
        r"""How many codes are not used."""
        return int((self.counts == 0).sum())

    def record(self) -> dict[str, float]:
        r"""All numbers by name, for a file."""
        return {
            **self.rate.record("code_rate"),
            "even_rate": self.even_rate,
            **self.distortion.record("code_distortion"),
            "code_bits_per_dim": self.bits_per_dim,
            "even_bits_per_dim": self.even_bits_per_dim,
            "perplexity": self.perplexity,
            "dead_codes": self.dead,
        }


def code_use(vae: Any, x: Data, *, seed: int = 0, **known: Any) -> CodeUse:
    r"""Measures the nearest codes of data: their rate by the learned prior and their use.

    Rate and distortion together are a bound on :math:`-\log p(x)`, a loose one, as it is of a
    single code for each datum; :func:`pyro_vae.log_marginal` is of the soft twin.

    Arguments:
        vae: A VAE with the posterior :class:`pyro_vae.posteriors.VectorQuantized` and the prior
            :class:`pyro_vae.priors.Codes`.
        x: The data, of shape `(B, *x_shape)`.
        seed: Seeds bits that are drawn at every visit.
        known: Further inputs of the programs, one row per datum.

    Raises:
        ValueError: The posterior has no codebook.
    """
    codebook = codebook_of(vae)
    if codebook is None:
        raise ValueError(
            "Expected a VAE with a codebook, the posterior vector-quantized and the prior codes; "
            f"got {type(getattr(vae, 'posterior', vae)).__name__}."
        )
    rates, distortions, counts = [], [], torch.zeros(codebook.num_codes, dtype=torch.int64)
    with opened(vae, x, known, seed) as (program, split):
        for rows, _ in batches(split, rows_at_once(split)):
            codes = codebook.codes(program.posterior.encoded(rows))
            z = codebook.embed(codes)
            rates.append(-program.prior().log_prob(z).double())
            distortions.append(-program.likelihood(z).log_prob(rows).double())
            counts += torch.bincount(codes.flatten(), minlength=len(counts)).cpu()
    rate, distortion = Mean.of(torch.cat(rates)), Mean.of(torch.cat(distortions))
    even, bits = codes.shape[-1] * log(codebook.num_codes), prod(split.x_shape) * log(2)
    return CodeUse(
        rate,
        even,
        distortion,
        counts,
        (rate.value + distortion.value) / bits,
        (even + distortion.value) / bits,
    )


def codebook_of(vae: Any) -> Any:
    r"""The codebook that prior and posterior of a VAE share, or None."""
    own = getattr(getattr(vae, "posterior", None), "codebook", None)
    return own if own is not None and own is getattr(vae.prior, "codebook", None) else None
