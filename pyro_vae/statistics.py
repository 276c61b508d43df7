r"""Means with their errors, tails of importance weights, tests of ranks."""

from collections.abc import Sequence
from functools import cache
from math import isfinite, log, nan, sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

CENTRE, STRENGTH = 0.7, 14  # the shape of the tail is drawn to 0.7, as 14 more weights would
WIDEST = 4.0  # nats; a wider interval says nothing
EVEN = 1e-2  # weights that spread by less have no tail
NORMAL = 1.959964
BISECTIONS = 45
NULL_DRAWS = 10_000


class Mean(float):
    r"""Creates a mean over data that knows its standard error. It is also the number itself.

    Arguments:
        value: The mean.
        se: Its standard error, NaN where it is unknown.
        unit: The unit of both.

    Example:
        >>> mean = Mean.of(torch.tensor([-3.0, -5.0]))
        >>> print(mean, mean + 1)
        -4.000 +- 1.000 nats per datum -3.0
    """

    def __new__(cls, value: Any, se: Any = nan, unit: str = "nats per datum") -> "Mean":
        self = super().__new__(cls, value)
        self.se, self.unit = float(se), unit
        return self

    se: float
    unit: str

    @classmethod
    def of(cls, values: Tensor, unit: str = "nats per datum") -> "Mean":
        r"""Returns the mean of independent values and :math:`s / \sqrt{n}`, with :math:`s` their
        standard deviation; the error is unknown of one value, or where one is infinite.

        Arguments:
            values: The values, of shape `(n,)`.
            unit: Their unit.
        """
        few = len(values) < 2
        return cls(values.mean(), nan if few else float(values.std()) / sqrt(len(values)), unit)

    @classmethod
    def over(cls, means: "Sequence[Mean]") -> "Mean":
        r"""Returns the mean over trainings that differ in their seed, with the errors of seeds and
        of the data that they share; of one, the error of data alone.

        .. math:: \mathrm{se}^2 = \frac{s^2}{S} + \frac{1}{S} \sum_i \mathrm{se}_i^2

        Arguments:
            means: The mean over data of each of `S` trainings, with `s` their standard deviation.
        """
        spread = stdev(means) / sqrt(len(means)) if len(means) > 1 else 0.0
        own = fmean(mean.se**2 for mean in means)
        return cls(fmean(means), sqrt(spread**2 + own), means[0].unit)

    @classmethod
    def ratio(cls, values: Tensor, sizes: Tensor, unit: str) -> "Mean":
        r"""Returns the sum of values over the sum of sizes, such as nats over steps, with its
        standard error by the delta method.

        .. math:: r = \frac{\sum_i a_i}{\sum_i b_i}, \quad
            \mathrm{se} = \frac{\sqrt{n} \, s(a_i - r b_i)}{\sum_i b_i}

        Arguments:
            values: The values :math:`a_i` of independent data, of shape `(n,)`.
            sizes: Their sizes :math:`b_i`, of shape `(n,)`.
            unit: The unit of the ratio.
        """
        values, sizes = values.double(), sizes.double()
        ratio, total = float(values.sum() / sizes.sum()), float(sizes.sum())
        rest = values - ratio * sizes
        few = len(values) < 2
        return cls(ratio, nan if few else sqrt(len(rest)) * float(rest.std()) / total, unit)

    @property
    def value(self) -> float:
        r"""The mean as an ordinary number."""
        return float(self)

    @property
    def error(self) -> str:
        r"""What follows the number: ``"+- "`` and three digits of the error, if it is known."""
        return f"+- {self.se:.3f}" if isfinite(self.se) else "+- unknown"

    def exceeds(self, least: float, z: float) -> bool:
        r"""Whether it is above `least`, and above zero by more than `z` known errors."""
        return float(self) > least and float(self) > z * self.se

    def record(self, name: str) -> dict[str, float]:
        r"""Returns value and error as JSON has them, under `name` and ``name_se``."""
        return {name: float(self), f"{name}_se": self.se}

    def __str__(self) -> str:
        return f"{float(self):.3f} {self.error} {self.unit}"

    def __repr__(self) -> str:
        return f"Mean({float(self)}, se={self.se}, unit={self.unit!r})"

    def __iter__(self) -> Any:
        return iter((float(self), self.se))

    def __getnewargs__(self) -> Any:
        return float(self), self.se, self.unit


def describe(name: str, values: Tensor, unit: str = "nats per datum") -> str:
    r"""Returns a line for people: the mean over data with its standard error.

    Example:
        >>> import torch
        >>> describe("ELBO", torch.tensor([-3.0, -5.0]))
        'ELBO                           -4.000 +- 1.000 nats per datum'
    """
    mean = Mean.of(values, unit)
    return f"{name:28s}{mean:9.3f} {mean.error} {unit}"


def z_score(samples: Tensor, exact: Tensor | float = 0.0) -> Tensor:
    r"""Returns how many standard errors the mean over the first dimension lies from a value.

    With one comparison, chance alone exceeds 4.3 once in 10^5.
    """
    return (samples.mean(0) - exact) / (samples.std(0) / len(samples) ** 0.5)


def pareto_shape(log_weights: Tensor) -> Tensor:
    r"""Estimates the shape :math:`\hat{k}` of the tail of importance weights.

    The weights have :math:`1 / k` finite moments: above 1/2 their variance is infinite, above 1
    their mean.

    References:
        | A New and Efficient Estimation Method for the Generalized Pareto Distribution
        | (Zhang & Stephens, 2009), Sec. 3
        | Pareto Smoothed Importance Sampling (Vehtari et al., 2024), Sec. 3 and App. C
        | https://arxiv.org/abs/1507.02646

    Arguments:
        log_weights: The `M + 1` largest log weights of each datum, of shape `(M + 1, B)`. The
            smallest is the threshold, the others are the tail.

    Returns:
        The shape, of shape `(B,)`; NaN where the tail has fewer than 5 weights or they are equal.
    """
    count = len(log_weights) - 1
    if count < 5:
        return log_weights.new_full(log_weights.shape[1:], torch.nan)
    ordered = log_weights.sort(dim=0).values
    weights = (ordered - ordered[-1]).exp()
    b, k, posterior = fit(weights[1:] - weights[:1])
    b = (posterior * b).sum(0)
    k = (-b * (weights[1:] - weights[:1])).log1p().mean(0)
    return (count * k + 5) / (count + 10)  # drawn towards 1/2, as 10 more weights would


def fit(excess: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Fits generalized Pareto distributions, with what is left open about them.

    Arguments:
        excess: What weights exceed a threshold by, ascending, of shape `(M, B)`.

    Returns:
        A grid of :math:`b = -k / \sigma`, the shape `k` that goes with each, and the weight that
        the profile likelihood gives it, each of shape `(G, B)`.
    """
    count = len(excess)
    grid = 30 + int(count**0.5)
    index = torch.arange(1, grid + 1, device=excess.device, dtype=excess.dtype)
    quartile = excess[int(count / 4 + 0.5) - 1]
    b = 1 / excess[-1] + (1 - (grid / (index - 0.5)).sqrt())[:, None] / (3 * quartile)
    k = torch.stack([(-row * excess).log1p().mean(0) for row in b])
    return b, k, (count * ((-b / k).log() - k - 1)).softmax(0)


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


def uniformity(ranks: np.ndarray, num_draws: int) -> float:
    r"""Returns the p value of the hypothesis that ranks from 0 to `num_draws` are uniform."""
    below = np.searchsorted(np.sort(ranks), np.arange(1, num_draws + 1))
    statistic = float(_tails(len(ranks), num_draws)[np.arange(num_draws), below].min())
    null = _null(len(ranks), num_draws)
    as_small = int(np.searchsorted(null, statistic, side="right"))
    p_value = (1 + as_small) / (1 + len(null))
    if as_small:
        return p_value
    return max(1e-300, min(p_value, num_draws * statistic))  # Boole's inequality


def band(num_simulations: int, num_draws: int, level: float = 0.95) -> tuple[np.ndarray, ...]:
    r"""Returns where the distribution function of uniform ranks stays, at all points together.

    Returns:
        The points :math:`1 / (L + 1) \ldots L / (L + 1)` and the lower and upper ends there.
    """
    least = np.quantile(_null(num_simulations, num_draws), 1 - level)
    inside = _tails(num_simulations, num_draws) >= least
    low, high = inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)
    points = np.arange(1, num_draws + 1) / (num_draws + 1)
    return points, low / num_simulations, high / num_simulations


@cache
def _tails(num_simulations: int, num_draws: int) -> np.ndarray:
    r"""Twice the smaller tail probability of each count of ranks below each point."""
    from scipy.stats import binom

    counts = np.arange(num_simulations + 1)
    points = np.arange(1, num_draws + 1)[:, None] / (num_draws + 1)
    law = binom(num_simulations, points)
    low, high = law.cdf(counts), law.sf(counts - 1)
    return np.minimum(1.0, 2 * np.minimum(low, high))


@cache
def _null(num_simulations: int, num_draws: int) -> np.ndarray:
    r"""The statistic under uniform ranks, sorted."""
    rng, size = np.random.default_rng(0), num_draws + 1
    counts = rng.multinomial(num_simulations, np.full(size, 1 / size), size=NULL_DRAWS)
    below = counts.cumsum(1)[:, :-1]
    table = _tails(num_simulations, num_draws)
    return np.sort(table[np.arange(num_draws), below].min(1))
