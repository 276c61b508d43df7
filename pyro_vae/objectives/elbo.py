r"""The evidence lower bound, told apart into reconstruction and KL term."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence


class Terms(NamedTuple):
    r"""The terms of the bound, in nats per datum, each a 0-dim tensor.

    ``loss`` can be differentiated; the others are for looking at and carry no KL weight.
    """

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


class ELBO:
    r"""Creates the reparameterized evidence lower bound of any Pyro model and guide.

    .. math::
        \mathcal{L}(x) = \mathbb{E}_{q(z \mid x)} [\log p(x \mid z)]
            - \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \leq \log p(x)

    The first term is estimated from samples :math:`z = g(\epsilon, x)`. The second is known in
    closed form for some pairs of distributions, such as two diagonal Normals; else, or by choice,
    it is estimated from the same samples. The value then equals that of
    :class:`pyro.infer.Trace_ELBO` under the same seed, divided by the batch size.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), Eq. 3, 6 and 7, App. B
        | https://arxiv.org/abs/1312.6114

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known and there is one latent site, or ``"sampled"``.
    """

    def __init__(
        self, num_particles: int = 1, kl: Literal["closed-form", "sampled"] = "sampled"
    ) -> None:
        self.num_particles = num_particles
        self.kl = kl

    def __call__(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Arguments:
            model: A Pyro program whose data are `x`, with plate dimension -1.
            guide: Its guide, whose every latent site is reparameterized.
            x: The data, of shape `(B, *x_shape)`.
            kwargs: Passed to both programs.

        Returns:
            The loss :math:`-\frac{1}{B} \sum_i \mathcal{L}(x_i)` and its terms.

        Raises:
            ValueError: A site of the guide is not reparameterized.
        """
        particles = (
            pyro.plate("particles", self.num_particles, dim=-2)
            if self.num_particles > 1
            else nullcontext()
        )
        with particles:
            q = poutine.trace(guide).get_trace(x, **kwargs)
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x, **kwargs)
        q, p = prune_subsample_sites(q), prune_subsample_sites(p)
        q_sites, p_sites = _samples(q), _samples(p)
        closed = self.kl == "closed-form" and len(q_sites) == 1
        count = len(x) * self.num_particles

        objective, reconstruction, kl = x.new_zeros(()), x.new_zeros(()), x.new_zeros(())
        for name, site in p_sites.items():
            if site["is_observed"]:
                value = site["fn"].log_prob(site["value"])
                objective = objective + _scaled_sum(value, site)
                reconstruction += value.detach().sum() / count
            else:
                value = _kl(name, q_sites[name], site, closed)
                objective = objective - _scaled_sum(value, site)
                kl += value.detach().sum() / count
        return Terms(-objective / count, reconstruction, kl)


def _samples(trace: poutine.Trace) -> dict[str, Any]:
    return {name: site for name, site in trace.nodes.items() if site["type"] == "sample"}


def _kl(name: str, q: Any, p: Any, closed: bool) -> Tensor:
    r"""KL term of a site, exact or :math:`\log q(z) - \log p(z)`, of shape ``batch_shape``."""
    if not q["fn"].has_rsample:
        raise ValueError(
            f"Expected reparameterized latent sites; got {name!r}, a {type(q['fn']).__name__}. "
            "Train it with TraceGraph_ELBO."
        )
    if closed:
        try:
            return kl_divergence(q["fn"], p["fn"])
        except NotImplementedError:
            pass
    z = q["value"]
    return q["fn"].log_prob(z) - p["fn"].log_prob(z)


def _scaled_sum(value: Tensor, site: Any) -> Tensor:
    r"""Sums over the batch, under the scale and mask that handlers gave the site."""
    return scale_and_mask(value, site["scale"], site["mask"]).sum()
