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
from torch.nn.functional import pad

PANELS, NODES = 16, 8
r"""The quadrature over the polar angle: Gauss-Legendre with this many nodes in each panel."""

STEPS = 5
r"""Newton steps to an angle. After them the distribution function is right to 1e-11 of its smaller
side in double precision, in up to 1000 dimensions and under every concentration."""


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

    whose normalizer `A` and distribution function `F` are found by quadrature. An angle solves
    :math:`F(\theta) = u` for a uniform `u`, by a fixed number of steps: there is nothing to
    reject, and no branch depends on data. Its gradient is that of the solution,
    :math:`d\theta / d\kappa = -(dF / d\kappa) / p(\theta)`. The direction away from
    :math:`\mu` is uniform.

    References:
        | Computer Generation of Distributions on the m-Sphere (Ulrich, 1984)
        | https://doi.org/10.2307/2347441
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
        self._first, self._last = self._ends()
        angle, log_weight = self._nodes(self._last)
        self._short, self._log_mass = _below_one(angle), self._log_kernel(angle) + log_weight
        self.log_normalizer = self._log_mass.logsumexp(-1)

    @property
    def cosine(self) -> Tensor:
        r""":math:`\mathbb{E} \cos \theta`, of shape ``batch_shape``."""
        return 1 - self._shortfall

    @property
    def _shortfall(self) -> Tensor:
        r""":math:`\mathbb{E} (1 - \cos \theta) = -A'(\kappa)`."""
        return (self._log_mass.softmax(-1) * self._short).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self.cosine[..., None] * self.loc

    @property
    def variance(self) -> Tensor:
        second = (self._log_mass.softmax(-1) * (1 - self._short).square()).sum(-1)[..., None]
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
        first = pad(torch.zeros_like(self.loc[..., 1:]), (1, 0), value=1.0)
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

    @torch.no_grad()
    def _ends(self) -> tuple[Tensor, Tensor]:
        r"""Angles before and beyond which there is less than 1e-13, of shape `batch`.

        Before its mode the density falls faster than a Normal with the curvature there. Beyond,
        :math:`\kappa (1 - \cos \theta)` is less spread than a Gamma variable, and :math:`\theta`
        less far out than under :math:`\kappa = 0`, whose density is symmetric about
        :math:`\pi / 2`.
        """
        k, n, half = self.concentration, self.dim - 2, (self.dim - 1) / 2
        curvature = (n**2 + 4 * k.square()).sqrt()
        mode = torch.atan2((2 * n * (n + curvature)).sqrt(), 2 * k)
        first = (mode - 9 / curvature.sqrt()).clamp(min=0.0)
        reach = (half + 8 * half**0.5 + 40) / k  # of 1 - cos
        last = 2 * torch.asin((reach / 2).clamp(max=1.0).sqrt())
        return first, last.clamp(max=pi / 2 + 9 / max(n, 1) ** 0.5)

    def _nodes(self, last: Tensor) -> tuple[Tensor, Tensor]:
        r"""Nodes between the first angle and `last`, and the logarithms of their weights."""
        nodes, weights = _gauss_legendre(PANELS, last.dtype, last.device)
        width = (last - self._first)[..., None]
        return self._first[..., None] + width * nodes, (width * weights).log()

    @torch.no_grad()
    def _draw_angle(self, shape: torch.Size) -> Tensor:
        r"""Solves :math:`F(\theta) = u`: a table has the panel, Newton's method the place in it.

        Up to the median the unknown is :math:`\log \theta` and the equation that of
        :math:`\log F`; beyond it, :math:`\log(\pi - \theta)` and :math:`\log(1 - F)`. Towards 0
        and :math:`\pi` one is a straight line in the other, and a panel bends it little anywhere.
        Steps start at the panel's end towards the median.
        """
        k, info = self.concentration, torch.finfo(self.concentration.dtype)
        u = torch.rand(shape, dtype=k.dtype, device=k.device).clamp(min=info.eps / 4)
        mass = self._log_mass.softmax(-1).unflatten(-1, (PANELS, NODES)).sum(-1)
        up_to, from_on = mass.cumsum(-1), mass.flip(-1).cumsum(-1).flip(-1)
        panel = (u[..., None] >= up_to[..., :-1]).sum(-1, keepdim=True)
        width = (self._last - self._first) / PANELS
        start = self._first + width * panel[..., 0]
        stop = start + width

        left = u < 0.5
        end, wanted = pi * (~left).to(u.dtype), torch.where(left, u, 1 - u).log()
        outer, angle = torch.where(left, start, stop), torch.where(left, stop, start)
        outside = torch.where(left[..., None], up_to - mass, from_on - mass).gather(-1, panel)
        nodes, weights = _gauss_legendre(1, k.dtype, k.device)
        nodes, weights = pad(nodes, (0, 1), value=1.0), pad(weights, (0, 1))  # and the angle
        for _ in range(STEPS):
            inside, away = angle - outer, angle - end
            node = outer[..., None] + inside[..., None] * nodes
            density = (self._log_kernel(node) - self.log_normalizer[..., None]).exp()
            found = outside[..., 0] + inside.abs() * (density * weights).sum(-1)
            found = found.clamp(min=info.tiny)
            slope = (away.abs() * density[..., -1]).clamp(min=info.tiny) / found
            step = (wanted - found.log()) / slope
            angle = (angle + away * torch.expm1(step.clamp(-9, 1))).clamp(start, stop)
        return angle


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
@torch.inference_mode(False)
def _gauss_legendre(
    panels: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    r"""Nodes on the unit interval and their weights; made once, not in every step."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    places = (np.arange(panels)[:, None] + (nodes + 1) / 2) / panels
    shares = np.tile(weights / 2 / panels, panels)
    return (
        torch.tensor(places.flatten(), dtype=dtype, device=device),
        torch.tensor(shares, dtype=dtype, device=device),
    )


def _below_one(angle: Tensor) -> Tensor:
    r""":math:`1 - \cos \theta`, of which no digit is lost."""
    return 2 * (angle / 2).sin().square()


def _unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=-1, keepdim=True)
