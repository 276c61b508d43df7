r"""Draws and log densities as an xarray DataTree, which ArviZ takes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent

from ..checks import Data, opened
from ..counted import counted
from ..programs import density, log_density, replicated, sample_sites

if TYPE_CHECKING:
    from xarray import DataTree


@counted
def to_datatree(
    vae: Any,
    x: Data,
    *,
    num_samples: int = 1000,
    posterior_predictive: bool = True,
    log_likelihood: bool = True,
    pointwise: bool = False,
    prior: bool = True,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    **known: Any,
) -> "DataTree":
    r"""Draws from guide and model, in the groups that ArviZ knows.

    The guide is one chain of independent draws. ``sample_stats`` holds :math:`\log p(x, z)` and
    :math:`\log q(z \mid x)`, ``log_p`` and ``log_q``, and their difference ``log_weight``, for
    Pareto smoothed importance sampling. Needs the extra ``bayes``.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`; a few, as every draw of everything is kept.
        num_samples: The number of draws per datum.
        posterior_predictive: Whether data are drawn for each draw of `z`.
        log_likelihood: Whether :math:`\log p(x \mid z)` is kept.
        pointwise: Whether it is kept for each element of `x`, of which ArviZ leaves out one at a
            time, instead of their sum.
        prior: Whether draws from the prior, and data from them, are kept; the model draws them
            when it is called as ``model(batch_size=B)``.
        coords: The values along dimensions.
        dims: The names of dimensions of a site, after ``chain``, ``draw`` and ``datum``.
        seed: Seeds the draws.
        known: Further inputs of the programs, one row per datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The groups ``posterior``, ``sample_stats``, ``observed_data`` and those asked for.

    Raises:
        ValueError: The extra ``bayes`` is not installed, or the elements of `x` depend on each
            other with ``pointwise``.
    """
    try:
        from xarray import Dataset, DataTree
    except ImportError:
        raise ValueError(
            "Expected xarray, which the extra `bayes` installs: pip install 'pyro_vae[bayes]'."
        ) from None
    with opened(vae, x, known, seed, freeze=True) as (program, split):
        data, more = split.batch(slice(None))
        groups, observed = _drawn(program, data, more, num_samples)
        if log_likelihood:
            of = _by_element if pointwise else density
            groups["log_likelihood"] = {name: of(site) for name, site in observed.items()}
        if posterior_predictive:
            groups["posterior_predictive"] = {n: s["fn"].sample() for n, s in observed.items()}
        if prior:
            with pyro.plate("particles", num_samples, dim=-2):
                sites = sample_sites(replicated(program, data, more, "prior"))
            groups["prior"] = {name: sites[name]["value"] for name in groups["posterior"]}
            groups["prior_predictive"] = {name: sites[name]["value"] for name in observed}

    names = dims or {}

    def dataset(values: Mapping[str, Tensor], lead: tuple[str, ...]) -> Any:
        arrays = {n: _named(n, value, lead, names.get(n, ())) for n, value in values.items()}
        used = {dim for names, _ in arrays.values() for dim in names}
        sizes = {dim: range(s) for n, a in arrays.values() for dim, s in zip(n, a.shape)}
        chosen = {k: v for k, v in (coords or {}).items() if k in used}
        return Dataset(arrays, coords={**sizes, **chosen})

    lead = ("chain", "draw", "datum")
    tree = {name: dataset(values, lead) for name, values in groups.items()}
    tree["observed_data"] = dataset({n: s["value"] for n, s in observed.items()}, ("datum",))
    return DataTree.from_dict(tree)


def _drawn(
    vae: Any, x: Tensor, known: dict[str, Any], num_samples: int
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    r"""Draws from the guide with their densities, by groups, and the observed sites."""
    with pyro.plate("particles", num_samples, dim=-2):
        q = poutine.trace(vae.guide).get_trace(x, **known)
        p = poutine.trace(poutine.replay(vae.model, trace=q)).get_trace(x, **known)
    model, guide = sample_sites(p), sample_sites(q)
    observed = {name: site for name, site in model.items() if site["is_observed"]}
    log_p, log_q = log_density(model.values()), log_density(guide.values())
    return {
        "posterior": {name: site["value"] for name, site in guide.items() if name in model},
        "sample_stats": {"log_p": log_p, "log_q": log_q, "log_weight": log_p - log_q},
    }, observed


def _by_element(site: dict[str, Any]) -> Tensor:
    r"""The log density of each element of an observed site."""
    law = site["fn"]
    while isinstance(law, Independent):
        law = law.base_dist
    if law.event_shape:
        raise ValueError(
            "Expected a likelihood of independent elements with pointwise=True; got one of "
            f"{type(law).__name__}. Leave pointwise out."
        )
    return law.log_prob(site["value"])


def _named(
    name: str, value: Tensor, lead: tuple[str, ...], rest: Sequence[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    r"""The dimensions of a site, named where nobody has, and its values."""
    array = value.detach().cpu().numpy()
    array = array[None] if lead[0] == "chain" else array
    others = (f"{name}_dim_{i}" for i in range(len(rest), array.ndim - len(lead)))
    return (*lead, *rest, *others), array
