r"""The evidence lower bound by reparameterized samples."""

from collections.abc import Callable
from typing import Any, Literal

from pyro.distributions.util import scale_and_mask
from torch import Tensor

from .base import Objective, Terms, traces
from .kl import kl_by_feature, kl_divergence


class ELBO(Objective):
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
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016),
          Eq. 15, free bits
        | https://arxiv.org/abs/1606.04934
        | Understanding Disentangling in beta-VAE (Burgess et al., 2018), Eq. 8, capacity
        | https://arxiv.org/abs/1804.03599

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``.
        free_bits: The KL term of each latent feature, averaged over the batch, counts as at least
            this many nats, so that there is nothing to gain from less.
        capacity: The KL term, averaged over the batch, is replaced by its distance from this many
            nats per datum; a KL weight then is the price of that distance.

    Raises:
        ValueError: Free bits and capacity are both given.
    """

    def __init__(
        self,
        num_particles: int = 1,
        kl: Literal["closed-form", "sampled"] = "sampled",
        *,
        free_bits: float = 0.0,
        capacity: float | None = None,
    ) -> None:
        super().__init__(num_particles)
        if free_bits and capacity is not None:
            raise ValueError("Expected free bits or capacity; got both. Each bends the KL term.")
        self.kl = kl
        self.free_bits = free_bits
        self.capacity = capacity

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Raises:
            ValueError: A site of the guide is not reparameterized; a closed-form KL is asked for
                and the guide orders its sites in another way than the model, so that conditional
                KL terms do not add up; or free bits are asked for and a KL has no features.
        """
        q_sites, p_sites = traces(model, guide, x, self.num_particles, **kwargs)
        latents = [name for name, site in p_sites.items() if not site["is_observed"]]
        if self.kl == "closed-form" and latents != [*q_sites]:
            raise ValueError(
                "Expected the guide to sample its sites in the model's order, as closed-form KL "
                f"terms condition on what came before; got {[*q_sites]} for {latents}. "
                'Take kl="sampled".'
            )
        count = len(x) * self.num_particles

        loss, reconstruction, kl = x.new_zeros(()), x.new_zeros(()), x.new_zeros(())
        for name, site in p_sites.items():
            if site["is_observed"]:
                value = site["fn"].log_prob(site["value"])
                loss = loss - _scaled_sum(value, site) / count
                reconstruction += value.detach().sum() / count
            else:
                value = self.kl_of(name, q_sites[name], site)
                loss = loss + self.bend(_scaled_sum(value, site) / count, site, q_sites[name])
                kl += value.detach().sum() / count
        return Terms(loss, reconstruction, kl)

    def kl_of(self, name: str, q: Any, p: Any) -> Tensor:
        r"""The KL term of a site, exact or :math:`\log q(z) - \log p(z)`, by batch element."""
        if not q["fn"].has_rsample:
            raise ValueError(
                f"Expected reparameterized latent sites; got {name!r}, a "
                f"{type(q['fn']).__name__}. Train it with the score function "
                "(objectives.ScoreFunction, or TraceGraph_ELBO)."
            )
        exact = kl_divergence(q["fn"], p["fn"]) if self.kl == "closed-form" else None
        z = q["value"]
        return q["fn"].log_prob(z) - p["fn"].log_prob(z) if exact is None else exact

    def bend(self, kl: Tensor, p: Any, q: Any) -> Tensor:
        r"""The KL term of the loss: itself, with free bits, or its distance from the capacity."""
        if self.capacity is not None:
            scale = p["scale"]
            return (kl - self.capacity * scale).abs()
        if not self.free_bits:
            return kl
        features = kl_by_feature(q["fn"], p["fn"], q["value"], exact=self.kl == "closed-form")
        if features is None:
            raise ValueError(
                "Expected a prior and a posterior that factorize over latent features, as free "
                f"bits count by feature; got {type(q['fn']).__name__} and "
                f"{type(p['fn']).__name__}. Use capacity, or a diagonal pair."
            )
        rows = features.flatten(0, -2).mean(0)
        return rows.clamp(min=self.free_bits).sum() * p["scale"]


def _scaled_sum(value: Tensor, site: Any) -> Tensor:
    r"""Sums over the batch, under the scale and mask that handlers gave the site."""
    return scale_and_mask(value, site["scale"], site["mask"]).sum()
