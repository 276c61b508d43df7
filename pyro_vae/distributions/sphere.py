r"""Distributions on the unit sphere."""

from functools import cache
from math import lgamma, log, pi
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions import register_kl
from torch.distributions.constraints import Constraint

NODES = 128
r"""Nodes of the Gauss-Legendre quadrature over the polar angle."""


class HypersphereUniform(dist.TorchDistribution):
    r"""Creates the uniform distribution on the sphere of unit vectors in `d` dimensions.

    Arguments:
        like: A vector of shape `(d,)`, whose type and device samples take.
    """

    arg_constraints: dict[str, Constraint] = {}
    support = constraints.sphere

    def __init__(self, like: Tensor) -> None:
        self.like = like
        super().__init__(torch.Size(), like.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return torch.zeros_like(self.like)

    @property
    def variance(self) -> Tensor:
        return torch.ones_like(self.like) / len(self.like)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        return _unit(torch.randn_like(self.like.expand(self._extended_shape(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        return value.new_full(value.shape[:-1], -log_surface(len(self.like)))

    def entropy(self) -> Tensor:
        return self.like.new_full((), log_surface(len(self.like)))


class VonMisesFisher(dist.TorchDistribution):
    r"""Creates :math:`p(z) \propto e^{\kappa \mu^\top z}` on the unit sphere.

    The polar angle :math:`\theta` of `z` from :math:`\mu` has the density

    .. math:: p(\theta) = e^{-A(\kappa)} \sin^{d - 2} \theta \; e^{-\kappa (1 - \cos \theta)}

    whose normalizer `A` and distribution function `F` are found by quadrature. Angles are drawn
    by rejection; their gradient is implicit, :math:`d\theta / d\kappa = -(dF / d\kappa) /
    p(\theta)`, which a rejection sampler alone does not give.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018), Sec. 3 and App. A
        | https://arxiv.org/abs/1804.00891
        | Implicit Reparameterization Gradients (Figurnov et al., 2018), Eq. 5
        | https://arxiv.org/abs/1805.08498

    Arguments:
        loc: The mean direction :math:`\mu`, unit vectors of shape `(*batch, d)`, `d` at least 2.
        concentration: The concentration :math:`\kappa > 0`, of shape `batch`.
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.loc, self.concentration = loc, concentration
        self.dim = loc.shape[-1]
        if self.dim < 2:
            raise ValueError("Expected a sphere in at least 2 dimensions; got 1.")
        super().__init__(concentration.shape, loc.shape[-1:], validate_args=False)
        self.log_normalizer = self._log_normalizer()

    @property
    def cosine(self) -> Tensor:
        r""":math:`\mathbb{E} \cos \theta`, of shape ``batch_shape``."""
        return 1 - self._shortfall

    @property
    def _shortfall(self) -> Tensor:
        r""":math:`\mathbb{E} (1 - \cos \theta) = -A'(\kappa)`."""
        angle, log_weight = self._nodes(self._last_angle())
        return ((self._log_kernel(angle) + log_weight).softmax(-1) * _below_one(angle)).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.cosine[..., None] * self.loc

    @property
    def variance(self) -> Tensor:
        angle, log_weight = self._nodes(self._last_angle())
        weight = (self._log_kernel(angle) + log_weight).softmax(-1)
        second = (weight * angle.cos().square()).sum(-1)[..., None]
        across = (1 - second) / (self.dim - 1)  # along each tangent direction
        return across + (second - across) * self.loc.square() - self.mean.square()

    def log_prob(self, value: Tensor) -> Tensor:
        short = (self.loc - value).square().sum(-1) / 2  # 1 - mu' z, of which no digit is lost
        return -self.concentration * short - self.log_normalizer - log_surface(self.dim - 1)

    def entropy(self) -> Tensor:
        spread = self.concentration * self._shortfall
        return self.log_normalizer + log_surface(self.dim - 1) + spread

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        shape = self._extended_shape(sample_shape)[:-1]
        concentration = self.concentration.expand(shape)
        angle = _AngleGradient.apply(concentration, self._draw_angle(shape), self)
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1.0
        tangent = torch.randn_like(self.loc.expand(*shape, self.dim))
        tangent = _unit(torch.cat([torch.zeros_like(tangent[..., :1]), tangent[..., 1:]], -1))
        z = angle.cos()[..., None] * first + angle.sin()[..., None] * tangent
        mirror = first - self.loc  # a Householder reflection takes the first axis to the mean
        length = mirror.square().sum(-1, keepdim=True).clamp(min=torch.finfo(z.dtype).tiny)
        return _unit(z - 2 * (mirror * z).sum(-1, keepdim=True) / length * mirror)

    def angle_gradient(self, angle: Tensor) -> Tensor:
        r""":math:`d\theta / d\kappa` of angles of shape `(*sample, *batch)`, by quadrature."""
        node, log_weight = self._nodes(angle)
        log_density = self._log_kernel(node) - self.log_normalizer[..., None]
        away = self._shortfall[..., None] - _below_one(node)  # cos - E cos
        slope = (log_density + log_weight).exp() * away
        at = self._log_kernel(angle[..., None])[..., 0] - self.log_normalizer
        return -slope.sum(-1) * torch.exp(-at)

    def _log_kernel(self, angle: Tensor) -> Tensor:
        r""":math:`(d - 2) \log \sin \theta - \kappa (1 - \cos \theta)` at angles of shape
        `(..., *batch, n)`."""
        sine = torch.log(angle.sin().clamp(min=torch.finfo(angle.dtype).tiny))
        return (self.dim - 2) * sine - self.concentration[..., None] * _below_one(angle)

    def _log_normalizer(self) -> Tensor:
        angle, log_weight = self._nodes(self._last_angle())
        return (self._log_kernel(angle) + log_weight).logsumexp(-1)

    def _last_angle(self) -> Tensor:
        r"""An angle beyond which there is nothing to integrate, of shape `batch`."""
        half = (self.dim - 1) / 2
        reach = (half + 8 * half**0.5 + 40) / self.concentration.detach()
        return 2 * torch.asin((reach / 2).clamp(max=1.0).sqrt())

    def _nodes(self, last: Tensor) -> tuple[Tensor, Tensor]:
        r"""Nodes between 0 and `last`, and the logarithms of their weights."""
        nodes, weights = (t.to(last) for t in _gauss_legendre())
        return last[..., None] * nodes, (last[..., None] * weights).log()

    def _draw_angle(self, shape: torch.Size) -> Tensor:
        r"""Wood's rejection sampler (1994), in all elements at a time."""
        with torch.no_grad():
            k, m = self.concentration.expand(shape), self.dim - 1
            b = m / (2 * k + (4 * k.square() + m**2).sqrt())
            x0, left = (1 - b) / (1 + b), 2 * b / (1 + b)  # 1 - x0
            c = (left * (1 + x0)).log()
            half = k.new_full((), m / 2)
            beta = torch.distributions.Beta(half, half, validate_args=False)
            below, waiting = torch.zeros_like(k), torch.ones_like(k, dtype=torch.bool)
            while bool(waiting.any()):
                y = beta.sample(shape)
                t = 2 * b * y / (1 - (1 - b) * y)  # 1 - cos
                log_share = k * (left - t) + m * ((left + x0 * t).log() - c)
                accepted = log_share >= torch.rand_like(k).log()
                below = torch.where(waiting & accepted, t, below)
                waiting = waiting & ~accepted
            angle = 2 * torch.asin((below / 2).clamp(0, 1).sqrt())
            return angle.clamp(min=torch.finfo(k.dtype).tiny ** 0.5)


class _AngleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, concentration: Tensor, angle: Tensor, law: VonMisesFisher) -> Tensor:
        ctx.law = law
        ctx.save_for_backward(angle)
        return angle

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (angle,) = ctx.saved_tensors
        with torch.no_grad():
            return gradients[0] * ctx.law.angle_gradient(angle), None, None


@register_kl(VonMisesFisher, HypersphereUniform)
def _kl(q: VonMisesFisher, p: HypersphereUniform) -> Tensor:
    return log_surface(q.dim) - q.entropy()


def log_surface(dim: int) -> float:
    r"""The log surface of the unit sphere in `dim` dimensions; log 2, of two points, in one."""
    return log(2) + dim / 2 * log(pi) - lgamma(dim / 2)


@cache
def _gauss_legendre() -> tuple[Tensor, Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def _below_one(angle: Tensor) -> Tensor:
    r""":math:`1 - \cos \theta`, of which no digit is lost."""
    return 2 * (angle / 2).sin().square()


def _unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=-1, keepdim=True)
