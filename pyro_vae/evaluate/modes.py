r"""Which of the known modes of a mixture do samples reach?"""

from math import nan
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..counted import Positive, counted
from ..data import as_split
from ..statistics import Mean

WITHIN = 3.0  # standard deviations


class ModeCoverage(NamedTuple):
    r"""How samples fall on the modes of a mixture of round Gaussians, all of the same weight.

    Attributes:
        covered: The number of modes that at least a tenth of their fair share of samples reach.
        num_modes: The number of modes.
        near: The share of samples within three standard deviations of a mode.
        near_floor: That of the mixture itself, exact.
        divergence: The Kullback-Leibler divergence of the shares of modes among those samples
            from even ones, in nats: 0 is fair, :math:`\log K` a single mode, NaN no such sample.
        divergence_floor: What as many samples of the mixture have on average, near
            :math:`(K - 1) / (2 n)`.
        shares: The share of the samples that are near each mode, of shape `(K,)`.
    """

    covered: int
    num_modes: int
    near: Mean
    near_floor: float
    divergence: Mean
    divergence_floor: float
    shares: Tensor


@counted
def mode_coverage(
    samples: Any, centres: Tensor, sigma: Positive, share: Positive = 0.1
) -> ModeCoverage:
    r"""Counts the modes that samples reach, on a ring or grid of Gaussians.

    References:
        | VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning
        | (Srivastava et al., 2017), Sec. 4.1, where a single sample covers a mode
        | https://arxiv.org/abs/1705.07761

    Arguments:
        samples: Independent draws, of shape `(N, dim)`.
        centres: The modes, of shape `(K, dim)`.
        sigma: The standard deviation around each.
        share: Which part of its fair share, :math:`1 / K` of the samples, covers a mode.

    Example:
        >>> import pyro_vae as pv
        >>> data = pv.data.ring()
        >>> found = mode_coverage(data.test, pv.data.centres_of(data.config), data.config.sigma)
        >>> found.covered, f"{found.divergence:.4f}", f"{found.divergence_floor:.4f}"
        (8, '0.0027', '0.0035')
    """
    from scipy.stats import chi2

    x = torch.cat([part.cpu() for part in as_split(samples, "samples").chunks()]).double()
    centres = torch.as_tensor(centres).double().cpu()
    if x.dim() != 2 or centres.shape[1:] != x.shape[1:] or not len(centres):
        raise ValueError(
            "Expected samples and one centre or more of one dimension; got shapes "
            f"{list(x.shape)} and {list(centres.shape)}."
        )
    distance, mode = torch.cdist(x, centres).min(1)
    near = distance <= WITHIN * sigma  # False for NaN
    count, modes = len(x), len(centres)
    at = torch.nn.functional.one_hot(mode, modes).double() * near[:, None]
    shares = at.mean(0)
    good = int(near.sum()) or nan
    p = shares * count / good
    logs = torch.where(p == 0, 0.0, (p * modes).log())
    divergence = (p * logs).sum()
    variance = (p * logs.square()).sum() - divergence.square()
    return ModeCoverage(
        int((shares >= share / modes).sum()),
        modes,
        Mean.of(near.double(), "of the samples"),
        float(chi2.cdf(WITHIN**2, x.shape[1])),
        Mean(divergence, (variance.clamp(min=0) / good).sqrt(), "nats"),
        (modes - 1) / (2 * good),
        shares,
    )
