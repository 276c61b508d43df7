r"""Bijections of vectors whose parameters broadcast with any batch shape.

All are transforms of PyTorch: ``dist.TransformedDistribution(base, transforms)`` gives the
density. Inverses without a closed form are found by a fixed number of bisections, then made
differentiable by one Newton step, whose slope is that of the implicit function.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform
from torch.nn.functional import logsigmoid, pad, softplus

from .remembered import Remembers

BISECTIONS = 60
FAR = 1e18  # has a square in single precision


class _VectorTransform(Transform):
    r"""A bijection of vectors; `forward_and_log_det` and `backward` are what the others define.

    Where the way back overflows, it ends far out.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self) -> None:
        super().__init__(cache_size=1)
        self._log_det: tuple[Tensor, Tensor] | None = None

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        y, log_det = self.forward_and_log_det(x)
        self._log_det = (x, log_det)
        return y

    def backward(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.nan_to_num(self.backward(y), nan=FAR, posinf=FAR, neginf=-FAR)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if self._log_det is not None and self._log_det[0] is x:
            return self._log_det[1]
        return self.forward_and_log_det(x)[1]


class Autoregressive(_VectorTransform):
    r"""Creates :math:`y_i = g(x_i; \theta_i(x_{<i}, h))`: one pass forwards, `D` passes back.

    References:
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934

    Arguments:
        net: An autoregressive network such as :class:`pyro_vae.nn.MADE`.
        element: The bijection `g` of single numbers: :class:`GatedAffine` or :class:`Spline`.
        context: What else the parameters depend on, of shape `(*batch, context_features)`.
    """

    def __init__(
        self, net: Callable[..., Tensor], element: Any, context: Tensor | None = None
    ) -> None:
        super().__init__()
        self.net, self.element, self.context = net, element, context

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.element.forward(x, self.net(x, self.context))
        return y, log_slope.sum(-1)

    def backward(self, y: Tensor) -> Tensor:
        x = torch.zeros_like(y)
        for _ in range(y.shape[-1]):  # each pass makes one more feature right
            x = self.element.inverse(y, self.net(x, self.context))
        return x


class GatedAffine:
    r"""The map :math:`y = \sigma(s) x + (1 - \sigma(s)) m` (Kingma et al., 2016, Eq. 14)."""

    outputs = 2

    @staticmethod
    def forward(x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        m, s = parameters.unbind(-1)
        s = s + 2.0  # starts close to the identity
        gate = torch.sigmoid(s)
        return gate * x + torch.sigmoid(-s) * m, logsigmoid(s)

    @staticmethod
    def inverse(y: Tensor, parameters: Tensor) -> Tensor:
        m, s = parameters.unbind(-1)
        s = s + 2.0
        return (y - torch.sigmoid(-s) * m) / torch.sigmoid(s)


class Spline(Remembers):
    r"""A monotone rational-quadratic spline on [-bound, bound], the identity outside.

    References:
        | Neural Spline Flows (Durkan et al., 2019), Eq. 4 to 8
        | https://arxiv.org/abs/1906.04032

    Arguments:
        num_bins: The number of pieces.
        bound: Where the identity begins.
    """

    def __init__(self, num_bins: int = 8, bound: float = 5.0) -> None:
        self.num_bins, self.bound = num_bins, bound
        self.outputs = 3 * num_bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.bound
        (x0, width, y0, height, d0, d1) = self._piece(x, parameters, 0)
        t = ((x - x0) / width).clamp(0, 1)
        slope, u = height / width, t * (1 - t)
        below = slope + (d0 + d1 - 2 * slope) * u
        y = y0 + height * (slope * t * t + d0 * u) / below
        rise = slope.square() * (d1 * t * t + 2 * slope * u + d0 * (1 - t).square())
        log_slope = rise.log() - 2 * below.log()
        return torch.where(inside, y, x), torch.where(inside, log_slope, 0.0)

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        inside = y.abs() < self.bound
        (x0, width, y0, height, d0, d1) = self._piece(y, parameters, 1)
        slope, r = height / width, (y - y0).clamp(min=0)
        r = torch.minimum(r, height)
        bend = d0 + d1 - 2 * slope
        a = height * (slope - d0) + r * bend
        b = height * d0 - r * bend
        c = -slope * r
        root = (b.square() - 4 * a * c).clamp(min=0).sqrt()
        t = 2 * c / (-b - root)
        return torch.where(inside, x0 + t * width, y)

    def _piece(self, value: Tensor, parameters: Tensor, axis: int) -> tuple[Tensor, ...]:
        r"""Left knot, width, bottom, height and end slopes of the piece where `value` lies."""
        k = self.num_bins
        widths, heights, slopes = parameters.split([k, k, k - 1], dim=-1)
        sizes = [1e-3 + (1 - 1e-3 * k) * s.softmax(-1) for s in (widths, heights)]
        knots = [pad(s.cumsum(-1), (1, 0)) * 2 * self.bound - self.bound for s in sizes]
        slopes = pad(1e-3 + softplus(slopes + 0.5398), (1, 1), value=1.0)  # 1 at zero
        shape = torch.broadcast_shapes(value.shape, parameters.shape[:-1])
        inner = knots[axis][..., 1:-1]
        place = (value.unsqueeze(-1) >= inner).sum(-1, keepdim=True).expand(*shape, 1)

        def pick(t: Tensor) -> Tensor:
            return t.expand(*shape, t.shape[-1]).gather(-1, place)[..., 0]

        left, bottom = pick(knots[0][..., :-1]), pick(knots[1][..., :-1])
        width, height = (pick(s) * 2 * self.bound for s in sizes)
        return left, width, bottom, height, pick(slopes[..., :-1]), pick(slopes[..., 1:])


class Planar(_VectorTransform):
    r"""Creates :math:`y = x + \hat{u} \tanh(w^\top x + b)`.

    References:
        | Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015), Eq. 10, App. A.1
        | https://arxiv.org/abs/1505.05770

    Arguments:
        u: Of shape `(*batch, D)`; it is moved to where :math:`w^\top \hat{u} > -1`.
        w: Of shape `(*batch, D)`.
        b: Of shape `(*batch, 1)`.
    """

    def __init__(self, u: Tensor, w: Tensor, b: Tensor) -> None:
        super().__init__()
        inner = (w * u).sum(-1, keepdim=True)
        length = w.square().sum(-1, keepdim=True).clamp(min=1e-12)
        self.u = u + (softplus(inner) - 1 - inner) * w / length
        self.w, self.b, self.inner = w, b, softplus(inner) - 1

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh((self.w * x).sum(-1, keepdim=True) + self.b)
        return x + self.u * h, torch.log1p((1 - h.square()) * self.inner)[..., 0]

    def backward(self, y: Tensor) -> Tensor:
        along = (self.w * y).sum(-1, keepdim=True)

        def gap(a: Tensor) -> Tensor:
            return a + self.inner * torch.tanh(a + self.b) - along

        a = bisect(gap, along, self.inner.abs())
        slope = 1 + self.inner * (1 - torch.tanh(a + self.b).square())
        a = a - gap(a) / slope.detach()
        return y - self.u * torch.tanh(a + self.b)


class Householder(_VectorTransform):
    r"""Creates the reflection :math:`y = x - 2 v v^\top x / v^\top v`.

    References:
        | Improving Variational Auto-Encoders using Householder Flow (Tomczak & Welling, 2016)
        | https://arxiv.org/abs/1611.09630

    Arguments:
        v: The direction, of shape `(*batch, D)`.
    """

    def __init__(self, v: Tensor) -> None:
        super().__init__()
        self.v = v / v.norm(dim=-1, keepdim=True).clamp(min=1e-12)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x - 2 * self.v * (self.v * x).sum(-1, keepdim=True)
        return y, y.new_zeros(y.shape[:-1])

    def backward(self, y: Tensor) -> Tensor:
        return self.forward_and_log_det(y)[0]


class Sylvester(_VectorTransform):
    r"""Creates :math:`y = x + Q R \tanh(\tilde{R} Q^\top x + b)` with triangular R.

    Q is a product of Householder reflections.

    References:
        | Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018)
        | https://arxiv.org/abs/1803.05649

    Arguments:
        v: The directions of the reflections, of shape `(*batch, H, D)`.
        r: Upper triangular, diagonal within (-1, 1), of shape `(*batch, D, D)`.
        r_inner: Like `r`, so that the map is invertible.
        b: Of shape `(*batch, D)`.
    """

    def __init__(self, v: Tensor, r: Tensor, r_inner: Tensor, b: Tensor) -> None:
        super().__init__()
        self.reflections = [Householder(part) for part in v.unbind(-2)]
        self.r, self.r_inner, self.b = r, r_inner, b
        self.diagonal = r.diagonal(dim1=-2, dim2=-1) * r_inner.diagonal(dim1=-2, dim2=-1)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(_times(self.r_inner, self._turn(x)) + self.b)
        log_det = torch.log1p((1 - h.square()) * self.diagonal).sum(-1)
        return x + self._turn_back(_times(self.r, h)), log_det

    def backward(self, y: Tensor) -> Tensor:
        target = self._turn(y)
        shape = torch.broadcast_shapes(target.shape, self.b.shape)
        target = target.expand(shape)
        x = self._solve(target)
        h = torch.tanh(_times(self.r_inner, x) + self.b)
        gap = x + _times(self.r, h) - target
        with torch.no_grad():
            slope = (self.r * (1 - h.square())[..., None, :]) @ self.r_inner
            slope = slope + torch.eye(shape[-1], dtype=y.dtype, device=y.device)
        step = torch.linalg.solve_triangular(slope, gap[..., None], upper=True)[..., 0]
        return self._turn_back(x - step)

    @torch.no_grad()
    def _solve(self, target: Tensor) -> Tensor:
        r"""Solves the triangular equations, the last feature first, each by bisection."""
        x, h = torch.zeros_like(target), torch.zeros_like(target)
        for i in reversed(range(target.shape[-1])):
            known = (self.r_inner[..., i, i + 1 :] * x[..., i + 1 :]).sum(-1) + self.b[..., i]
            rest = target[..., i] - (self.r[..., i, i + 1 :] * h[..., i + 1 :]).sum(-1)
            outer, inner = self.r[..., i, i], self.r_inner[..., i, i]

            def gap(
                a: Tensor,
                known: Tensor = known,
                rest: Tensor = rest,
                outer: Tensor = outer,
                inner: Tensor = inner,
            ) -> Tensor:
                return a + outer * torch.tanh(inner * a + known) - rest

            x[..., i] = bisect(gap, rest, outer.abs())
            h[..., i] = torch.tanh(inner * x[..., i] + known)
        return x

    def _turn(self, x: Tensor) -> Tensor:
        for reflection in self.reflections:
            x = reflection.forward_and_log_det(x)[0]
        return x

    def _turn_back(self, x: Tensor) -> Tensor:
        for reflection in reversed(self.reflections):
            x = reflection.forward_and_log_det(x)[0]
        return x


@torch.no_grad()
def bisect(gap: Callable[[Tensor], Tensor], middle: Tensor, radius: Tensor) -> Tensor:
    r"""Returns the zero of an increasing function within `radius` (and a little) of `middle`."""
    low, high = middle - radius - 1e-3, middle + radius + 1e-3
    low, high = torch.broadcast_tensors(low, high)
    for _ in range(BISECTIONS):
        centre = (low + high) / 2
        above = gap(centre) > 0
        low, high = torch.where(above, low, centre), torch.where(above, centre, high)
    return (low + high) / 2


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]
