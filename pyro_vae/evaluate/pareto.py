r"""The tail of importance weights, as a generalized Pareto distribution."""

import torch
from torch import Tensor


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
