r"""Between which values does log p(x) lie? An interval that knows of weights not yet seen."""

from math import log

import numpy as np
import torch
from torch import Tensor

from .pareto import fit

CENTRE, STRENGTH = 0.7, 14  # the shape of the tail is drawn to 0.7, as 14 more weights would
WIDEST = 4.0  # nats; a wider interval says nothing
EVEN = 1e-2  # weights that spread by less have no tail
NORMAL = 1.959964
BISECTIONS = 45


def interval(total: Tensor, squares: Tensor, largest: Tensor, count: int) -> tuple[Tensor, Tensor]:
    r"""Returns a 95 % interval for :math:`\log p(x)` from importance weights.

    .. math:: p(x) = (1 - \tfrac{M}{K}) \, m + \tfrac{M}{K} \left(u + \frac{\sigma}{1 - k}\right)

    `m` is the mean of the weights below the threshold `u`; the `M` above it have a generalized
    Pareto tail, whose mean is not that of the few weights seen. What the data leave open about
    :math:`(k, \sigma)`, by profile likelihood over a grid, and the sampling error of `m` and of
    `M` make a mixture of Normal distributions, whose quantiles are the interval. The upper side
    takes heavier tails for likely, since it is the tail that is seen too rarely.

    References:
        | A New and Efficient Estimation Method for the Generalized Pareto Distribution
        | (Zhang & Stephens, 2009), Sec. 3
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024), Sec. 3
        | https://arxiv.org/abs/1507.02646

    Arguments:
        total: The log of the sum of `count` weights, of shape `(B,)`.
        squares: The log of the sum of their squares, of shape `(B,)`.
        largest: The `M + 1` largest log weights, of shape `(M + 1, B)`.
        count: The number `K` of weights.

    Returns:
        The ends in nats, each of shape `(B,)`; NaN where the tail has fewer than 5 weights, or
        leaves more than 4 nats open.
    """
    size = len(largest) - 1
    estimate = total - log(count)
    spread = (count * (squares - 2 * total).exp() - 1).clamp(min=0).sqrt()  # relative
    error = spread / (count - 1 or float("nan")) ** 0.5
    even = spread < EVEN
    if size < 5:
        nothing = torch.full_like(estimate, torch.nan)
        return nothing, nothing
    top = largest.max(0).values
    ordered = (largest - top).sort(0).values.exp()
    threshold, tail = ordered[0], ordered[1:]
    rest = count - size
    mean = ((total - top).exp() - tail.sum(0)) / rest
    second = ((squares - 2 * top).exp() - tail.square().sum(0)) / rest
    variance = (second - mean.square()).clamp(min=0) * rest / max(1, rest - 1)
    steps = torch.arange(1, size + 1, device=tail.device, dtype=tail.dtype)[:, None]
    excess = torch.where(even, steps, tail - threshold)

    b, k, weight = fit(excess)
    nodes, chances = np.polynomial.hermite_e.hermegauss(5)
    wide = torch.cat([k * float(np.exp(node / size**0.5)) for node in nodes])
    scale = -wide / torch.cat([b] * len(nodes))
    weight = torch.cat([weight * float(chance) for chance in chances / chances.sum()])

    def end(shape: Tensor, level: float) -> Tensor:
        beyond = torch.where(shape < 1, scale / (1 - shape).clamp(min=1e-9), torch.inf)
        share, tails = size / count, threshold + beyond
        centre = (1 - share) * mean + share * tails
        noise = (1 - share) * variance + share * (1 - share) * (tails - mean).square()
        return top + _quantile(centre, (noise / count).sqrt(), weight, level, estimate - top)

    heavier = (size * wide + STRENGTH * CENTRE) / (size + STRENGTH)
    lower = torch.minimum(end(wide, 0.025), estimate)
    upper = torch.maximum(end(heavier, 0.975), estimate)
    known = upper - lower <= WIDEST
    lower, upper = (torch.where(known, side, torch.nan) for side in (lower, upper))
    return (
        torch.where(even, estimate - NORMAL * error, lower),
        torch.where(even, estimate + NORMAL * error, upper),
    )


def _quantile(
    centre: Tensor, scale: Tensor, weight: Tensor, level: float, start: Tensor
) -> Tensor:
    r"""The log of a quantile of a mixture of Normal distributions, by bisection."""
    low, high = start - 20, start + 20
    never = centre.isinf()
    centre, scale = (torch.where(never, 1.0, t) for t in (centre, scale))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = torch.special.ndtr((middle.exp() - centre) / scale)
        less = (weight * torch.where(never, 0.0, below)).sum(0) < level
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    return (low + high) / 2
