r"""What an objective is, and the log densities that estimators are made of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor, nn

Sites = dict[str, Any]


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
    """

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__()
        self.num_particles = num_particles

    @abstractmethod
    def forward(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Arguments:
            model: A Pyro program whose data are `x`, in a plate of dimension -1.
            guide: Its guide.
            x: The data, of shape `(B, *x_shape)`.
            kwargs: Passed to both programs.

        Returns:
            The loss, minus the bound averaged over the batch, and its terms.
        """


class Weights(NamedTuple):
    r"""Log densities of `K` samples for each of `B` data, each of shape `(K, B)`.

    Attributes:
        likelihood: :math:`\log p(x \mid z_k)`.
        prior: :math:`\log p(z_k)`.
        posterior: :math:`\log q(z_k \mid x)`.
        latents: The samples, a tensor for each site.
        scale: What handlers and subsampling multiply the likelihood by.
        kl_scale: What they multiply prior and posterior by.
    """

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor
    latents: list[Tensor]
    scale: Tensor | float
    kl_scale: Tensor | float

    @property
    def log_weights(self) -> Tensor:
        r"""The logarithms of :math:`w_k = p(x, z_k) / q(z_k \mid x)`."""
        return self.likelihood + self.prior - self.posterior

    def common_scale(self, estimator: str) -> Tensor | float:
        r"""The one scale of all sites, which a logarithm of a mean of weights stays inside.

        Raises:
            ValueError: Latent and observed sites have different scales.
        """
        if not _equal(self.scale, self.kl_scale):
            raise ValueError(
                f"Expected one scale for all sites under {estimator}, whose bound is no sum of a "
                f"reconstruction and a KL term; got {self.kl_scale} for z and {self.scale} for x. "
                "Train with a KL weight by the ELBO."
            )
        return self.scale

    def terms(self, objective: Tensor) -> Terms:
        r"""The terms of an objective of shape `(B,)`, already scaled."""
        count = self.likelihood.numel()
        return Terms(
            -objective.sum() / objective.shape[-1],
            self.likelihood.detach().sum() / count,
            (self.posterior - self.prior).detach().sum() / count,
        )


def traces(
    model: Callable,
    guide: Callable,
    x: Tensor,
    num_particles: int,
    *,
    detached: bool = False,
    **kwargs: Any,
) -> tuple[Sites, Sites]:
    r"""Runs the guide, replays the model, and returns the sample sites of each, by name.

    Samples lose their gradient if they are to be `detached`.
    """
    particles = (
        pyro.plate("particles", num_particles, dim=-2) if num_particles > 1 else nullcontext()
    )
    with particles:
        q = poutine.trace(guide).get_trace(x, **kwargs)
        for site in sample_sites(q).values() if detached else ():
            site["value"] = site["value"].detach()
        p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x, **kwargs)
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
    path: bool = False,
    detached: bool = False,
    **kwargs: Any,
) -> Weights:
    r"""Draws :math:`z_k \sim q(z \mid x)` and returns the log densities, datum by datum.

    Masks act on the densities. Scales stay apart: a logarithm of a mean of weights must not see
    the :math:`N / B` of subsampling.

    Arguments:
        model: As in :meth:`Objective.forward`; `guide`, `x` and `kwargs` too.
        num_particles: The number `K` of samples.
        path: Lets the gradient of :math:`\log q(z_k \mid x)` reach parameters only along the path
            through :math:`z_k`: the score at fixed :math:`z_k`, whose mean is zero, is left out.
        detached: Takes the gradient of :math:`z_k` away, so that the score alone is left.

    Raises:
        ValueError: Sites lie in different plates, or sites of a kind have different scales.
    """
    q, p = traces(model, guide, x, num_particles, detached=detached, **kwargs)
    check_plates([*p.values(), *q.values()])
    observed = [site for site in p.values() if site["is_observed"]]
    latent = [site for name, site in p.items() if not site["is_observed"] and name in q]
    shape = (num_particles, len(x))

    def total(sites: Iterable[Any], fixed: bool = False) -> Tensor:
        densities = [density(site, fixed).expand(shape) for site in sites]
        return torch.stack(densities).sum(0)

    posterior = total(q.values())
    if path:
        score = total(q.values(), fixed=True)
        posterior = posterior - score + score.detach()
    return Weights(
        likelihood=total(observed),
        prior=total(latent),
        posterior=posterior,
        latents=[site["value"] for site in q.values()],
        scale=_one_scale(observed),
        kl_scale=_one_scale([*latent, *q.values()]),
    )


def density(site: Any, fixed: bool = False) -> Tensor:
    r"""The log density of a site under its mask, unscaled; its value may be held fixed."""
    value = site["value"].detach() if fixed else site["value"]
    return scale_and_mask(site["fn"].log_prob(value), 1.0, site["mask"])


def check_plates(sites: Iterable[Any]) -> None:
    r"""Refuses programs whose sites are not all in one plate of data."""
    plates = {
        tuple((f.name, f.dim) for f in site["cond_indep_stack"] if f.name != "particles")
        for site in sites
    }
    if len(plates) != 1 or [dim for _, dim in next(iter(plates))] != [-1]:
        got = " and ".join(sorted(str([name for name, _ in plate]) for plate in plates))
        raise ValueError(
            "Expected every site in one plate of data with dim=-1, as this estimator weighs "
            f"samples datum by datum; got the plates {got}. Use the ELBO."
        )


def _one_scale(sites: list[Any]) -> Tensor | float:
    scales = [site["scale"] for site in sites]
    if not all(_equal(scale, scales[0]) for scale in scales):
        raise ValueError(
            f"Expected one scale for all latent and one for all observed sites; got {scales}. "
            "Use the ELBO."
        )
    return scales[0]


def _equal(a: Any, b: Any) -> bool:
    if a is b or not (isinstance(a, Tensor) or isinstance(b, Tensor)):
        return a == b
    return bool((a == b).all())
