r"""Between two data: points between their latent variables, decoded."""

from typing import Any, Literal

import torch
from pyro import poutine
from torch import Tensor

from ..checks import Data
from ..counted import counted
from ..data import Split
from ..distributions import describe_support
from ..programs import as_program, dtype_of, sample_sites, undisturbed
from .generated import decode
from .latent import encode_sites

How = Literal["linear", "great-circle"]
OPPOSITE = 1e-6  # of the angle pi


@counted
def interpolate(
    vae: Any, a: Data, b: Data, steps: int = 8, how: How = "linear", *, seed: int = 0, **known: Any
) -> Tensor:
    r"""Returns the means of :math:`p(x \mid z)` at points between the latents of pairs of data.

    The ends are the means of :math:`q(z \mid x)`, on which :func:`pyro_vae.encode` agrees. Of
    several latent sites each has its own path.

    Arguments:
        vae: A VAE whose latent variables are real or on a sphere.
        a: The data where paths begin, of shape `(B, *x_shape)`.
        b: The data where they end, of shape `(B, *x_shape)`.
        steps: How many points a path has, with its ends.
        how: ``"linear"`` or ``"great-circle"``, as in :func:`between`.
        seed: Seeds the moments of latent variables that have no closed form.
        known: Conditions, and values of latent sites, which stay as they are: a row for each pair.
            Conditions may come with `a` and `b`, if these are splits; a path has those of `a`.

    Returns:
        Data of shape `(B, steps, *x_shape)`.

    Raises:
        ValueError: There are fewer than two steps, `a` and `b` have other numbers of rows, a
            latent site is discrete, or a straight line would leave the sphere.

    Example:
        >>> import pyro_vae as pv, torch
        >>> vae = pv.VAE(
        ...     pv.priors.StandardNormal(2),
        ...     pv.likelihoods.Bernoulli(pv.nn.MLP(2, [16], 5)),
        ...     pv.posteriors.MeanFieldNormal(pv.nn.MLP(5, [16], 4)),
        ... )
        >>> interpolate(vae, torch.zeros(3, 5), torch.ones(3, 5), steps=4).shape
        torch.Size([3, 4, 5])
    """
    if steps < 2:
        raise ValueError(f"Expected 2 steps at least, the ends of a path; got {steps}.")
    program = as_program(vae)
    ends = []
    for x in (a, b):
        sites = encode_sites(program, x, seed=seed, **known)
        ends.append({name: part.loc for name, part in sites.items() if name not in known})
    first, last = ends
    counts = [len(next(iter(sites.values()))) if sites else 0 for sites in ends]
    if counts[0] != counts[1] or not counts[0]:
        raise ValueError(
            f"Expected pairs of data with a latent site to walk along; got {counts[0]} and "
            f"{counts[1]} rows."
        )
    of_data = a.known if isinstance(a, Split) else {}
    conditions = {n: of_data[n] for n in getattr(program, "conditions", ()) if n in of_data}
    given = {n: v for n, v in {**conditions, **known}.items() if v is not None and n != "index"}
    _check_supports(program, [*first], how, given)
    paths = [between(first[n].flatten(1), last[n].flatten(1), steps, how) for n in first]
    z = torch.cat(paths, -1).flatten(0, 1)
    rows = {n: _each(v, counts[0], steps) for n, v in given.items()}
    x = decode(program, z, "mean", seed=seed, **rows)
    return x.reshape(counts[0], steps, *x.shape[1:])


def between(a: Tensor, b: Tensor, steps: int, how: How = "linear") -> Tensor:
    r"""Returns points between vectors, with :math:`t` from 0 to 1.

    ``"linear"`` is :math:`(1 - t) a + t b`. Under :math:`\mathcal{N}(0, I)` of many dimensions
    such points are shorter than any draw; ``"great-circle"`` turns the direction by an even
    angle, and the length goes from that of `a` to that of `b` evenly:

    .. math:: ((1 - t) |a| + t |b|) \, \frac{\sin((1 - t) \omega) \, a / |a|
        + \sin(t \omega) \, b / |b|}{\sin \omega}, \quad
        \omega = \angle(a, b)

    References:
        | Animating Rotation with Quaternion Curves (Shoemake, 1985), Sec. 3.3
        | Sampling Generative Networks (White, 2016), Sec. 2.1
        | https://arxiv.org/abs/1609.04468

    Arguments:
        a: Vectors, of shape `(B, D)`.
        b: Vectors, of shape `(B, D)`.
        steps: How many points, with the ends.
        how: ``"linear"`` or ``"great-circle"``.

    Returns:
        The points, of shape `(B, steps, D)`; the first is `a`, the last `b`.

    Raises:
        ValueError: Vectors are zero or opposite, so that no great circle leads from one to the
            other, or `how` is something else.
    """
    a, b = a[:, None], b[:, None]
    t = torch.linspace(0, 1, steps, device=a.device, dtype=a.dtype)[:, None]
    line = torch.where(t < 1, a + t * (b - a), b)
    if how == "linear":
        return line
    if how != "great-circle":
        raise ValueError(f"Expected 'linear' or 'great-circle'; got {how!r}.")
    length = [v.norm(dim=-1, keepdim=True) for v in (a, b)]
    if not bool((length[0] > 0).all() and (length[1] > 0).all()):
        raise ValueError("Expected vectors with a direction for a great circle; got zero.")
    u, v = a / length[0], b / length[1]
    half = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    if bool((half > torch.pi * (1 - OPPOSITE)).any()):
        raise ValueError(
            "Expected latents that are not opposite, between which every great circle is as "
            "short; got some. Take how='linear', or other data."
        )
    sine = half.sin()
    near = sine < torch.finfo(a.dtype).eps ** 0.5  # the circle is a line
    turned = (((1 - t) * half).sin() * u + (t * half).sin() * v) / torch.where(near, 1.0, sine)
    circle = ((1 - t) * length[0] + t * length[1]) * turned
    inside = (t > 0) & (t < 1) & ~near
    return torch.where(inside, circle, line)


def _check_supports(vae: Any, names: list[str], how: str, known: dict[str, Any]) -> None:
    r"""Refuses paths that leave the support of a latent site."""
    given = {n: known[n][:1] for n in getattr(vae, "drawn_under", ()) if n in known}
    with undisturbed(vae, 0) as device:
        rows = {n: v.to(device, dtype_of(vae)) for n, v in given.items()}
        sites = sample_sites(poutine.trace(vae.model).get_trace(batch_size=1, **rows))
    for name in names:
        what = describe_support(sites[name]["fn"].support)
        if what == "the unit sphere" and how == "linear":
            raise ValueError(
                f"Expected how='great-circle' for {name}, which lies on a sphere that a straight "
                "line leaves; got 'linear'."
            )
        if what not in ("the real numbers", "the unit sphere"):
            raise ValueError(
                f"Expected real latent variables to walk between; got {name}, on {what}. If it is "
                f"known, pass {name}=, which then stays."
            )


def _each(value: Tensor, count: int, steps: int) -> Tensor:
    r"""The rows of a value, each for all steps of a path; one for all data stays."""
    many = value.dim() > 1 and len(value) == count
    return value.repeat_interleave(steps, 0) if many else value
