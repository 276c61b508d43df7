r"""Tails of symmetric laws on their standard scale: probabilities, and what lies beyond."""

from math import log, pi
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

SYMMETRIC = (dist.Normal, dist.Laplace, dist.StudentT)
r"""The laws whose tails are known."""

STEP, NODES = 0.2, 22  # of the quadrature of Student's tail, on either side


def log_tail(law: Any, y: Tensor) -> Tensor:
    r"""Returns :math:`\log P(Y > y)` of a standardized law.

    Arguments:
        law: One of :data:`SYMMETRIC`, whose location and scale do not count.
        y: The standardized value.
    """
    match law:
        case dist.Normal():
            return torch.special.log_ndtr(-y)
        case dist.Laplace():
            far = -y.clamp(min=0) - log(2)
            return torch.where(y > 0, far, torch.log1p(-y.clamp(max=0).exp() / 2))
    return _log_tail_of_t(law.df, y)


def excess(law: Any, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns :math:`\mathbb{E} (Y - y)_+` and :math:`\mathbb{E} (Y - y)_+^2` of a standardized
    law, in double precision. Those of Student's t with :math:`\nu \leq 1` and with
    :math:`\nu \leq 2` are infinite: of the first, differences are right all the same, the second
    is NaN.

    Arguments:
        law: As in :func:`log_tail`.
        y: The standardized value.
    """
    y = y.double()
    match law:
        case dist.Normal():
            above, density = torch.special.ndtr(-y), (-y.square() / 2).exp() / (2 * pi) ** 0.5
            return density - y * above, (1 + y.square()) * above - y * density
        case dist.Laplace():
            tail, low = (-y.abs()).exp(), y.clamp(max=0)
            return tail / 2 - low, torch.where(y > 0, tail, 2 + low.square() - tail)
    df = law.df.double()
    df = torch.where((df - 1).abs() < 1e-6, 1 + 1e-6, df)  # a pole that differences do not have
    above, density = _log_tail_of_t(df, y).exp(), _log_density_of_t(df, y).exp()
    first = (df + y.square()) / (df - 1) * density  # that of Y beyond y
    less = (df - 2).clamp(min=1e-3)
    beyond = _log_tail_of_t(less, y * (less / df).sqrt()).exp()
    second = df * ((df - 1) / less * beyond - above) - 2 * y * first + y.square() * above
    return first - y * above, torch.where(df > 2, second, torch.nan)


def _log_density_of_t(df: Tensor, y: Tensor) -> Tensor:
    volume = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - (df * pi).log() / 2
    return volume - (df + 1) / 2 * torch.log1p(y.square() / df)


def _log_tail_of_t(df: Tensor, y: Tensor) -> Tensor:
    r"""With :math:`t = \sqrt{\nu} \sinh v` the tail is an integral of :math:`\cosh^{-\nu} v`,
    here relative to its start, by a double exponential rule; in double precision."""
    nu, t = df.double(), torch.where(y > 0, y, -y).double()  # |y|, with a slope at 0
    slope = t / (nu + t.square()).sqrt()  # tanh v
    wide = (nu * slope + torch.minimum(nu, nu.sqrt())).reciprocal()[..., None]
    s = STEP * torch.arange(-NODES, NODES + 1, dtype=t.dtype, device=t.device)
    w = wide * (s - (-s).exp()).exp()
    rise = w + torch.log1p((1 - slope[..., None]) / 2 * torch.expm1(-2 * w))
    area = (w.log() - nu[..., None] * rise + torch.log1p((-s).exp())).logsumexp(-1) + log(STEP)
    volume = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - log(pi) / 2
    tail = volume - nu / 2 * torch.log1p(t.square() / nu) + area
    return torch.where(y > 0, tail, torch.log1p(-tail.exp())).to(y.dtype)
