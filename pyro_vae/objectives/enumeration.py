r"""The evidence lower bound, summed over all values of one latent variable."""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..programs import Terms, check_gradients, check_plates, density, sample_sites, taught
from ..randomness import apart
from .base import Objective
from .kl import closed_sites, kl_divergence


class Enumeration(Objective):
    r"""Creates the ELBO summed over the one latent variable whose values can be listed.

    .. math:: \mathcal{L}(x) = \sum_y q(y \mid x) \, \mathbb{E}_{q(z \mid x, y)} [
        \log p(x, y, z) - \log q(y \mid x) - \log q(z \mid x, y)]

    It costs as many runs of the programs as there are values. Other latent variables are drawn
    once for each of them; without any, the bound has no variance. It equals
    :class:`pyro.infer.TraceEnum_ELBO` on average.

    Where the guide knows the value for some data (:class:`pyro_vae.distributions.Known`), the sum
    is over that value alone. With `supervision` the guide learns from it, too: the objective then
    has :math:`\alpha \log q(y \mid x)` of the data whose `y` is known.

    References:
        | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), Eq. 7 and 9
        | https://arxiv.org/abs/1406.5298

    Arguments:
        supervision: The weight :math:`\alpha` of log q(y | x) where y is known.
    """

    name = "enumeration"
    advice = "the ELBO summed over all values of z; for few of them"
    needs = ("list",)

    def __init__(self, supervision: float = 0.0) -> None:
        super().__init__(1)
        self.supervision = supervision
        self.listed: tuple[str, int] | None = None

    def prepare(self, guide: Callable, x: Tensor, **kwargs: Any) -> None:
        if self.listed is None:
            self.listed = listed(guide, x, **kwargs)

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Raises:
            ValueError: The guide has not exactly one latent site whose values can be listed, or
                another is not reparameterized.
        """
        self.prepare(guide, x, **kwargs)
        assert self.listed is not None
        name, size = self.listed
        with list_values(name), pyro.plate("particles", size, dim=-2):
            q_trace = poutine.trace(guide).get_trace(x, **kwargs)
            p_trace = poutine.trace(poutine.replay(model, trace=q_trace)).get_trace(x, **kwargs)
        q_sites, p_sites = sample_sites(q_trace), sample_sites(p_trace)
        check_plates([*q_sites.values(), *p_sites.values()])
        drawn = {n: s for n, s in q_sites.items() if n != name}
        check_gradients(drawn, {n: s for n, s in p_sites.items() if n != name})
        closed = closed_sites(q_sites, p_sites) | {name: False}

        weight = q_sites[name]["fn"].log_prob(q_sites[name]["value"]).exp()  # a mask hides terms
        loss, reconstruction, kl = x.new_zeros(()), x.new_zeros(()), x.new_zeros(())
        for site, p in p_sites.items():
            if p["is_observed"]:
                value = weight * density(p)
                loss = loss - (value * p["scale"]).sum() / len(x)
                reconstruction = reconstruction + value.detach().sum() / len(x)
            elif site in q_sites:  # what the guide lacks is drawn from the prior, at no cost
                value = weight * _kl(q_sites[site], p, closed[site])
                loss = loss + (value * p["scale"]).sum() / len(x)
                kl = kl + value.detach().sum() / len(x)
        known = taught({name: q_sites[name]}) if self.supervision else None
        if known is not None:  # the same for all values
            loss = loss - self.supervision * known.sum() / (size * len(x))
        return Terms(loss, reconstruction, kl)


class list_values(Messenger):
    r"""Gives a site all of its values, along the dimension of particles."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] == self.name and not msg["done"]:
            law = msg["fn"]
            values = law.enumerate_support(expand=False)  # (S, 1, 1, *event) among particles
            rows = law.batch_shape[-1:]
            msg["value"] = values[:, 0].expand(len(values), *rows, *law.event_shape)
            msg["done"] = True


def listed(guide: Callable, x: Tensor, **kwargs: Any) -> tuple[str, int]:
    r"""Returns the site of a guide whose values can be listed, and how many they are.

    Raises:
        ValueError: There is not exactly one.
    """
    with apart(x.device), torch.no_grad():
        sites = sample_sites(poutine.trace(guide).get_trace(x[:2], **_first(kwargs, len(x))))
    others = {name: site["fn"] for name, site in sites.items() if not site["fn"].has_rsample}
    found = {name: law for name, law in others.items() if law.has_enumerate_support}
    if len(found) == 1 and len(others) == 1:
        ((name, law),) = found.items()
        return name, len(law.enumerate_support(expand=False))
    if len(found) > 1:
        raise ValueError(
            f"Expected one latent site to list; got {', '.join(found)}, whose joint values are a "
            "product. Use the score function."
        )
    name, site = next(iter((others or {n: s["fn"] for n, s in sites.items()}).items()))
    raise ValueError(
        f"Expected a latent variable whose values can be listed; got {name!r}, a "
        f"{type(site).__name__} of shape {tuple(site.event_shape)}. Use the score function."
    )


def _first(kwargs: dict[str, Any], count: int) -> dict[str, Any]:
    r"""The rows of the first two of `count` data."""
    return {
        name: value[:2]
        if isinstance(value, Tensor) and value.dim() and len(value) == count
        else value
        for name, value in kwargs.items()
    }


def _kl(q: Any, p: Any, exact: bool) -> Tensor:
    r"""The KL term of a site, by value of the listed one; exact where that is known."""
    unmasked = q["mask"] is None and p["mask"] is None
    known = kl_divergence(q["fn"], p["fn"]) if exact and unmasked else None
    return density(q) - density(p) if known is None else known
