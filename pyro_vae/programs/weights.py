r"""Log densities of samples, datum by datum, which bounds and estimates are made of."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .paths import detach_samples, gate_samples, reduce
from .tracing import (
    check_gradients,
    check_plates,
    density,
    equal,
    plates_of,
    taught,
    too_deep,
    traces,
)

Gradient = Literal["all", "path", "score"]


class Terms(NamedTuple):
    r"""The terms of a bound, in nats per datum, each a 0-dim tensor.

    ``loss`` can be differentiated. ``reconstruction`` is :math:`\log p(x \mid z)` and ``kl`` is
    :math:`\mathrm{KL}(q(z \mid x) \,\|\, p(z))` or its estimate; both are for looking at and
    carry no weight.
    """

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


class Weights(NamedTuple):
    r"""Log densities of `K` samples for each of `E` independent elements, which are the data.

    Attributes:
        likelihood: :math:`\log p(x \mid z_k)` without scales, of shape `(K, E)`.
        prior: :math:`\log p(z_k)` without scales, of shape `(K, E)`.
        posterior: :math:`\log q(z_k \mid x)` without scales, of shape `(K, E)`.
        model: :math:`\log p(x, z_k)`, every site under its scale, of shape `(K, E)`.
        guide: :math:`\log q(z_k \mid x)`, every site under its scale, of shape `(K, E)`.
        score: :math:`\log q(z_k \mid x)` without scales and masks: how likely the draw was.
        gates: What samples went through, where gradients go along their path.
        scales: What handlers and subsampling multiply each site by.
        taught: :math:`\log q` of what is known of latent variables, under scales, of shape
            `(K, E)`; None unless it was asked for.
        layout: `K` and the sizes of the plates that all sites share, 1 elsewhere.
        num_data: The number of data.
    """

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor
    model: Tensor
    guide: Tensor
    score: Tensor
    gates: gate_samples | None
    scales: list[Tensor | float]
    taught: Tensor | None
    layout: torch.Size
    num_data: int

    @property
    def log_weights(self) -> Tensor:
        r"""The logarithms of :math:`w_k = p(x, z_k) / q(z_k \mid x)`."""
        return self.likelihood + self.prior - self.posterior

    def common_scale(self, estimator: str) -> Tensor | float:
        r"""The one scale of all sites, which a logarithm of a mean of weights stays outside of.

        Raises:
            ValueError: Sites have different scales, or there are no weights datum by datum.
        """
        if not all(equal(scale, self.scales[0]) for scale in self.scales):
            shown = " and ".join(dict.fromkeys(str(scale) for scale in self.scales))
            raise ValueError(
                f"Expected one scale for all sites under {estimator}, whose bound is no sum of a "
                f"reconstruction and a KL term; got {shown}. Train with a KL weight by the ELBO."
            )
        if prod(self.layout[1:]) == 1 < self.num_data:
            raise ValueError(
                f"Expected every site in one plate of data, as {estimator} weighs samples datum "
                "by datum; got sites that share no plate. Use the ELBO."
            )
        return self.scales[0]

    def terms(self, objective: Tensor) -> Terms:
        r"""The terms of an objective of shape `(E,)`, already scaled."""
        count = len(self.likelihood) * self.num_data
        return Terms(
            -objective.sum() / self.num_data,
            self.likelihood.detach().sum() / count,
            (self.posterior - self.prior).detach().sum() / count,
        )


def weigh(
    model: Callable,
    guide: Callable,
    x: Tensor,
    num_particles: int,
    *,
    gradient: Gradient = "all",
    max_plate_nesting: int | None = None,
    teach: bool = False,
    **kwargs: Any,
) -> Weights:
    r"""Draws :math:`z_k \sim q(z \mid x)` and returns the log densities, datum by datum.

    Masks act on the densities. Scales stay apart: a logarithm of a mean of weights must not see
    the :math:`N / B` of subsampling.

    Arguments:
        model: As in :meth:`Objective.forward`; `guide`, `x` and `kwargs` too.
        num_particles: The number `K` of samples.
        gradient: The ways that gradients take: ``"all"``; along the ``"path"`` through samples
            alone, so that the score of :math:`\log q` at fixed :math:`z_k`, whose mean is zero,
            is left out; or by the ``"score"`` alone, samples being constants.
        max_plate_nesting: How deep plates may be nested; elements are those of the plates that
            all sites share. By default every site has to be in the one plate of data.
        teach: Whether :math:`\log q` of what is known of latent variables is wanted.

    Raises:
        ValueError: Sites lie in other plates, or a gradient is wanted where there is none.
    """
    gates = gate_samples() if gradient == "path" else None
    handler = detach_samples() if gradient == "score" else gates
    nesting = max_plate_nesting or 1
    q, p = traces(
        model, guide, x, num_particles, handler=handler, max_plate_nesting=nesting, **kwargs
    )
    if torch.is_grad_enabled():
        check_gradients(q, p, pathwise=gradient != "score")
    observed = [site for site in p.values() if site["is_observed"]]
    latent = [site for name, site in p.items() if not site["is_observed"] and name in q]
    guided = [*q.values()]
    every = [s for s in (*observed, *latent, *guided) if not s["infer"].get("_deterministic")]
    if max_plate_nesting is None:
        check_plates(every)
    layout = _layout(every, num_particles, nesting)

    def total(sites: Iterable[Any], scaled: bool = False) -> Tensor:
        values = [density(site) * (site["scale"] if scaled else 1.0) for site in sites]
        summed = [reduce(value, layout) for value in values]
        return torch.stack(summed).sum(0) if summed else x.new_zeros(num_particles, 1)

    likelihood, prior, posterior = (total(sites) for sites in (observed, latent, guided))
    scales = [site["scale"] for site in every]
    common = all(equal(scale, scales[0]) for scale in scales)
    guide_terms = posterior if common else total(guided, scaled=True)
    score = posterior
    if gates is not None:
        guide_terms = gates.along_path(guide_terms, layout)
        posterior = guide_terms if common else gates.along_path(posterior, layout)
    elif gradient == "score" and any(site["mask"] is not None for site in guided):
        drawn = [site["fn"].log_prob(site["value"]) for site in guided]
        score = torch.stack([reduce(value, layout) for value in drawn]).sum(0)
    known = taught(q) if teach else None
    return Weights(
        likelihood=likelihood,
        prior=prior,
        posterior=posterior,
        model=(likelihood + prior) * scales[0] if common else total([*observed, *latent], True),
        guide=guide_terms * scales[0] if common else guide_terms,
        score=score,
        gates=gates,
        scales=scales,
        taught=None if known is None else reduce(known, layout),
        layout=layout,
        num_data=len(x),
    )


def _layout(sites: Iterable[Any], num_particles: int, max_plate_nesting: int) -> torch.Size:
    r"""The number of particles, and the sizes of the plates that all sites share."""
    plates = [plates_of(site) for site in sites]
    shared = {dim: size for _, dim, size in set.intersection(*plates)}
    depth = max((-dim for around in plates for _, dim, _ in around), default=1)
    if num_particles > 1 and depth > max_plate_nesting:
        raise too_deep(max_plate_nesting)
    depth = max(depth, max_plate_nesting)
    return torch.Size([num_particles, *(shared.get(dim, 1) for dim in range(-depth, 0))])
