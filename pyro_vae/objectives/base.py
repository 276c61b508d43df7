r"""What an objective is, and the log densities that estimators are made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from math import prod
from typing import Any, Literal, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

from .kl import equal
from .paths import detach_samples, gate_samples, reduce

Sites = dict[str, Any]
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


class Objective(nn.Module, ABC):
    r"""Abstract estimator of a bound on :math:`\log p(x)`, for any Pyro model and guide.

    Parameters and buffers, such as those of a baseline, belong to the objective: training
    optimizes and saves them beside the model's.

    Arguments:
        num_particles: The number `K` of samples of :math:`z` per datum.

    Attributes:
        max_plate_nesting: How deep the programs nest their plates; several particles are in a
            plate to the left of so many.
    """

    max_plate_nesting: int = 1

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__()
        self.num_particles = num_particles

    @abstractmethod
    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Arguments:
            model: A Pyro program whose data are `x`, in a plate.
            guide: Its guide.
            x: The data, of shape `(B, *x_shape)`.
            kwargs: Passed to both programs.

        Returns:
            The loss, minus the bound averaged over the batch, and its terms.
        """

    def weigh(
        self,
        model: Callable,
        guide: Callable,
        x: Tensor,
        gradient: Gradient = "all",
        **kwargs: Any,
    ) -> "Weights":
        r"""The log densities of this objective's particles, as :func:`weigh` returns them."""
        nesting = self.max_plate_nesting
        return weigh(
            model,
            guide,
            x,
            self.num_particles,
            gradient=gradient,
            max_plate_nesting=nesting,
            **kwargs,
        )


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
            told = " and ".join(dict.fromkeys(str(scale) for scale in self.scales))
            raise ValueError(
                f"Expected one scale for all sites under {estimator}, whose bound is no sum of a "
                f"reconstruction and a KL term; got {told}. Train with a KL weight by the ELBO."
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


def traces(
    model: Callable,
    guide: Callable,
    x: Tensor,
    num_particles: int,
    *,
    handler: Any = None,
    max_plate_nesting: int = 1,
    **kwargs: Any,
) -> tuple[Sites, Sites]:
    r"""Runs the guide inside a handler, replays the model, and returns the sample sites of each.

    Particles are in a plate to the left of all others.

    Raises:
        ValueError: Plates are nested deeper than `max_plate_nesting`, so that particles have no
            dimension of their own.
    """
    particles: Any = nullcontext()
    if num_particles > 1:
        particles = pyro.plate("particles", num_particles, dim=-1 - max_plate_nesting)
    try:
        with particles:
            with handler or nullcontext():
                q = poutine.trace(guide).get_trace(x, **kwargs)
            if isinstance(handler, gate_samples):
                handler.show(sample_sites(q))
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x, **kwargs)
    except ValueError as error:
        if num_particles > 1 and "collide" in str(error):
            raise _too_deep(max_plate_nesting) from error
        raise
    return sample_sites(q), sample_sites(p)


def sample_sites(trace: poutine.Trace) -> Sites:
    r"""The sample sites of a trace, without those of subsampling."""
    nodes = prune_subsample_sites(trace).nodes
    return {name: site for name, site in nodes.items() if site["type"] == "sample"}


def weigh(
    model: Callable,
    guide: Callable,
    x: Tensor,
    num_particles: int,
    *,
    gradient: Gradient = "all",
    max_plate_nesting: int | None = None,
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
    return Weights(
        likelihood=likelihood,
        prior=prior,
        posterior=posterior,
        model=(likelihood + prior) * scales[0] if common else total([*observed, *latent], True),
        guide=guide_terms * scales[0] if common else guide_terms,
        score=score,
        gates=gates,
        scales=scales,
        layout=layout,
        num_data=len(x),
    )


def density(site: Any) -> Tensor:
    r"""The log density of a site under its mask, unscaled."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), 1.0, site["mask"])


def check_plates(sites: Iterable[Any]) -> None:
    r"""Refuses programs whose sites are not all in one plate of data."""
    plates = {frozenset((name, dim) for name, dim, _ in _plates(site)) for site in sites}
    if len(plates) != 1 or [dim for _, dim in next(iter(plates))] != [-1]:
        got = " and ".join(sorted(str(sorted(name for name, _ in plate)) for plate in plates))
        raise ValueError(
            "Expected every site in one plate of data with dim=-1, as this estimator weighs "
            f"samples datum by datum; got the plates {got}. Use the ELBO."
        )


def check_gradients(q: Sites, p: Sites, pathwise: bool = True) -> None:
    r"""Refuses latent samples through which no gradient flows, where one has to.

    A latent variable that the guide lacks is drawn from its prior, whose parameters then want a
    path too.

    Raises:
        ValueError: A site is not reparameterized.
    """
    for name, site in (q if pathwise else {}).items():
        if not site["is_observed"] and not site["fn"].has_rsample:
            raise ValueError(
                f"Expected reparameterized latent sites; got {name!r}, a "
                f"{type(site['fn']).__name__}. Train it with the score function "
                "(objectives.ScoreFunction, or TraceGraph_ELBO)."
            )
    for name, site in p.items():
        if name not in q and not site["is_observed"] and not site["fn"].has_rsample:
            raise ValueError(
                f"Expected the guide to sample {name!r}, a {type(site['fn']).__name__}: drawn "
                "from the prior, it has no gradient. Add it to the guide."
            )


def _plates(site: Any) -> set[tuple[str, int, int]]:
    r"""Name, dimension and size of each plate around a site, without that of the particles."""
    frames = [f for f in site["cond_indep_stack"] if f.vectorized and f.name != "particles"]
    return {(f.name, f.dim, f.size) for f in frames}


def _layout(sites: Iterable[Any], num_particles: int, max_plate_nesting: int) -> torch.Size:
    r"""The number of particles, and the sizes of the plates that all sites share."""
    plates = [_plates(site) for site in sites]
    shared = {dim: size for _, dim, size in set.intersection(*plates)}
    depth = max((-dim for around in plates for _, dim, _ in around), default=1)
    if num_particles > 1 and depth > max_plate_nesting:
        raise _too_deep(max_plate_nesting)
    depth = max(depth, max_plate_nesting)
    return torch.Size([num_particles, *(shared.get(dim, 1) for dim in range(-depth, 0))])


def _too_deep(max_plate_nesting: int) -> ValueError:
    return ValueError(
        f"Expected plates that are nested at most {max_plate_nesting} deep, to the left of which "
        "several particles go; got deeper ones. Set max_plate_nesting of the objective, or take "
        "one particle."
    )
