r"""The evidence lower bound by reparameterized samples."""

from collections.abc import Callable
from typing import Any, Literal

from pyro.distributions.util import scale_and_mask
from torch import Tensor

from ..counted import counted
from ..programs import Sites, Terms, check_gradients, equal, taught, traces
from ..ranks import batch_mean
from .base import Objective
from .kl import closed_sites, kl_by_feature, kl_divergence


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
        | Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014), Eq. 9
        | https://arxiv.org/abs/1406.5298

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
        kl: ``"closed-form"`` where it is known, or ``"sampled"``.
        free_bits: The KL term of each latent feature, averaged over the batch, counts as at least
            this many nats, so that there is nothing to gain from less.
        free_bits_per: ``"feature"``, or ``"site"``: the KL term of each latent site then counts as
            at least `free_bits`, for pairs of distributions that do not factorize, too.
        capacity: The KL term of all latent sites, averaged over the batch, is replaced by its
            distance from this many nats per datum; a KL weight then is the price of that distance.
        supervision: The weight :math:`\alpha` of :math:`\log q(y \mid x)` where a latent `y` is
            known, which is added to the bound (Kingma et al., 2014, Eq. 9).

    Raises:
        ValueError: Free bits and capacity are both given.
    """

    name = "reparameterized"
    advice = (
        "the ELBO by samples through which gradients flow, KL exact if known; "
        "the default for continuous latents"
    )
    needs = ("path",)

    @counted
    def __init__(
        self,
        num_particles: int = 1,
        kl: Literal["closed-form", "sampled"] = "sampled",
        *,
        free_bits: float = 0.0,
        free_bits_per: Literal["feature", "site"] = "feature",
        capacity: float | None = None,
        supervision: float = 0.0,
    ) -> None:
        super().__init__(num_particles)
        if free_bits and capacity is not None:
            raise ValueError(
                "Expected free bits or capacity; got both. Each modifies the KL term."
            )
        self.kl = kl
        self.free_bits, self.free_bits_per = free_bits, free_bits_per
        self.capacity = capacity
        self.supervision = supervision

    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Raises:
            ValueError: A site of the guide is not reparameterized; free bits are used and a
                KL has no features; or a capacity, and latent sites have different scales.
        """
        q, p = traces(
            model, guide, x, self.num_particles, max_plate_nesting=self.max_plate_nesting, **kwargs
        )
        check_gradients(q, p)
        return self.terms(x, q, p)

    def terms(self, x: Tensor, q: Sites, p: Sites) -> Terms:
        r"""The terms of the bound, of what guide and model have drawn for `x`."""
        closed = closed_sites(q, p) if self.kl == "closed-form" else dict.fromkeys(p, False)
        count = len(x) * self.num_particles

        loss, reconstruction, kl = x.new_zeros(()), x.new_zeros(()), x.new_zeros(())
        rate, scales = x.new_zeros(()), []
        for name, site in p.items():
            if site["is_observed"]:
                value = site["fn"].log_prob(site["value"])
                loss = loss - _scaled_sum(value, site) / count
                reconstruction += value.detach().sum() / count
            elif name in q:  # what the guide lacks is drawn from the prior, at no cost
                value, term = self.kl_of(q[name], site, closed[name])
                if self.free_bits and self.free_bits_per == "site":
                    least = self.free_bits * mean_scale(site["scale"])
                    rate = rate + batch_mean(term / count).clamp(min=least)
                elif self.free_bits:
                    rate = rate + self.with_free_bits(q[name], site, closed[name], count)
                else:
                    rate = rate + term / count
                scales.append(site["scale"])
                kl += value.detach().sum() / count
        for name, site in q.items():  # auxiliary variables, which the model does not know
            if name not in p:
                rate = rate + _scaled_sum(site["fn"].log_prob(site["value"]), site) / count
        if self.capacity is not None:
            rate = (batch_mean(rate) - self.capacity * _common(scales)).abs()
        known = taught(q) if self.supervision else None
        if known is not None:
            loss = loss - self.supervision * known.sum() / count
        return Terms(loss + rate, reconstruction, kl)

    def kl_of(self, q: Any, p: Any, closed: bool) -> tuple[Tensor, Tensor]:
        r"""The KL term of a site, exact or :math:`\log q(z) - \log p(z)`, by batch element; and
        its sum over the batch under the scales and masks that handlers gave the site."""
        z, alike = q["value"], equal(q["scale"], p["scale"]) and equal(q["mask"], p["mask"])
        exact = kl_divergence(q["fn"], p["fn"]) if closed and alike else None
        if exact is not None:
            return exact, _scaled_sum(exact, p)
        log_q, log_p = q["fn"].log_prob(z), p["fn"].log_prob(z)
        value = log_q - log_p
        return value, _scaled_sum(value, p) if alike else _scaled_sum(log_q, q) - _scaled_sum(
            log_p, p
        )

    def with_free_bits(self, q: Any, p: Any, closed: bool, count: int) -> Tensor:
        r"""The KL term of a site in which each feature counts as `free_bits` at least."""
        features = kl_by_feature(q["fn"], p["fn"], q["value"], exact=closed)
        if features is None:
            raise ValueError(
                "Expected a prior and a posterior that factorize over latent features, as free "
                f"bits count by feature; got {type(q['fn']).__name__} and "
                f"{type(p['fn']).__name__}. Count by site (free_bits_per)."
            )
        around = max(len(q["fn"].batch_shape), len(p["fn"].batch_shape))
        event, scale = features.shape[around:], p["scale"]
        of_rows = isinstance(scale, Tensor) and scale.dim() > 0  # else it is outside of the sum
        weight, mask = (
            part[(..., *[None] * len(event))] if isinstance(part, Tensor) and part.dim() else part
            for part in (scale if of_rows else 1.0, p["mask"])
        )
        rows = scale_and_mask(features, weight, mask).reshape(-1, *event)
        means, least = batch_mean(rows.mean(0)) * (len(rows) / count), self.free_bits
        if of_rows:
            return means.clamp(min=least * mean_scale(scale)).sum()
        return means.clamp(min=least).sum() * scale


def _scaled_sum(value: Tensor, site: Any) -> Tensor:
    r"""Sums over the batch, under the scale and mask that handlers gave the site."""
    return scale_and_mask(value, site["scale"], site["mask"]).sum()


def _common(scales: list[Any]) -> Any:
    r"""The one scale of all latent sites, on average over data."""
    if not all(equal(scale, scales[0]) for scale in scales):
        raise ValueError(
            "Expected one scale for all latent sites under a capacity, which is about the KL term "
            f"of all together; got {scales}. Use free bits, or the plain ELBO."
        )
    return mean_scale(scales[0])


def mean_scale(scale: Any) -> Any:
    r"""A scale of a site, on average over the batch."""
    return batch_mean(scale.mean()) if isinstance(scale, Tensor) and scale.dim() else scale
