r"""The evidence lower bound, summed over all values of the latent variable."""

from collections.abc import Callable
from typing import Any

import pyro
from pyro import poutine
from torch import Tensor

from ..programs import Terms, check_gradients, check_plates, density, sample_sites
from .base import Objective


class Enumeration(Objective):
    r"""Creates the ELBO without sampling, for a latent variable with few values.

    .. math:: \mathcal{L}(x) = \sum_z q(z \mid x) [\log p(x, z) - \log q(z \mid x)]

    It costs as many runs of the model as there are values, and has no variance. It equals
    :class:`pyro.infer.TraceEnum_ELBO`.

    References:
        | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), Eq. 7
        | https://arxiv.org/abs/1406.5298
    """

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Raises:
            ValueError: The guide has not exactly one latent site, or its values cannot be listed.
        """
        q_trace = poutine.trace(guide).get_trace(x, **kwargs)
        q_sites = sample_sites(q_trace)
        if len(q_sites) != 1:
            raise ValueError(f"Expected one latent site to list; got {[*q_sites]}.")
        ((name, q),) = q_sites.items()
        if not q["fn"].has_enumerate_support:
            raise ValueError(
                f"Expected a latent variable whose values can be listed; got {name!r}, a "
                f"{type(q['fn']).__name__} of shape {tuple(q['fn'].event_shape)}. Use the score "
                "function."
            )
        q["value"] = values = q["fn"].enumerate_support(expand=True)
        with pyro.plate("particles", len(values), dim=-2):
            p_sites = sample_sites(
                poutine.trace(poutine.replay(model, trace=q_trace)).get_trace(x, **kwargs)
            )
        check_plates([q, *p_sites.values()])
        check_gradients({}, {n: s for n, s in p_sites.items() if n != name})
        weight = q["fn"].log_prob(values).exp()  # a mask hides terms of the sum, no values
        prior = p_sites.pop(name)
        kl = weight * (density(q) - density(prior))
        loss = kl * prior["scale"]
        reconstruction = x.new_zeros(())
        for site in p_sites.values():
            if not site["is_observed"]:  # drawn from the prior, at no cost
                continue
            value = weight * density(site)
            loss = loss - value * site["scale"]
            reconstruction = reconstruction + value.detach().sum() / len(x)
        return Terms(loss.sum() / len(x), reconstruction, kl.detach().sum() / len(x))
