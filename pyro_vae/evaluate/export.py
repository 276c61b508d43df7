r"""Draws and densities as an xarray DataTree, which ArviZ takes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..counted import counted
from ..data import Split
from ..programs import as_program, density, sample_sites, undisturbed
from .checks import check_rows, take
from .generate import replicated

if TYPE_CHECKING:
    from xarray import DataTree


@counted
def to_datatree(
    vae: Any,
    x: Tensor | np.ndarray | Split,
    *,
    num_samples: int = 1000,
    posterior_predictive: bool = True,
    log_likelihood: bool = True,
    prior: bool = True,
    coords: Mapping[str, Sequence[Any]] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    **known: Any,
) -> "DataTree":
    r"""Draws from guide and model, in the groups that ArviZ knows.

    The guide is one chain of independent draws. ``sample_stats`` holds their log weights
    :math:`\log p(x, z) - \log q(z \mid x)`, for Pareto smoothed importance sampling. Needs the
    extra ``bayes``.

    Arguments:
        vae: A VAE, or a pair of Pyro model and guide.
        x: The data, of shape `(B, *x_shape)`; a few, as every draw of everything is kept.
        num_samples: The number of draws per datum.
        posterior_predictive: Whether data are drawn for each draw of `z`.
        log_likelihood: Whether :math:`\log p(x \mid z)` is kept.
        prior: Whether draws from the prior, and data from them, are kept; the model draws them
            when it is called as ``model(batch_size=B)``.
        coords: The values along dimensions.
        dims: The names of dimensions of a site, after ``chain``, ``draw`` and ``datum``.
        seed: Seeds the draws.
        known: What the programs take besides, a row for each datum: row numbers as `index`,
            conditions, values of other sites.

    Returns:
        The groups ``posterior``, ``sample_stats``, ``observed_data`` and those asked for.

    Raises:
        ValueError: The extra ``bayes`` is not installed.
    """
    try:
        from xarray import Dataset, DataTree
    except ImportError:
        raise ValueError(
            "Expected xarray, which the extra `bayes` installs: pip install 'pyro_vae[bayes]'."
        ) from None
    vae = as_program(vae)
    groups: dict[str, dict[str, Tensor]] = {}
    with undisturbed(vae, seed):
        split = take(vae, x, known).freeze(seed)
        check_rows(vae, split.known)
        x, known = split.batch(slice(None))
        with pyro.plate("particles", num_samples, dim=-2):
            q = poutine.trace(vae.guide).get_trace(x, **known)
            p = poutine.trace(poutine.replay(vae.model, trace=q)).get_trace(x, **known)
        model, guide = sample_sites(p), sample_sites(q)
        latent = {name: site["value"] for name, site in guide.items() if name in model}
        observed = {n: site for n, site in model.items() if site["is_observed"]}
        log_weights = sum(density(s) for s in model.values()) - sum(
            density(s) for s in guide.values()
        )
        groups["posterior"] = latent
        groups["sample_stats"] = {"log_weight": torch.as_tensor(log_weights)}
        if log_likelihood:
            groups["log_likelihood"] = {n: density(site) for n, site in observed.items()}
        if posterior_predictive:
            drawn = {name: site["fn"].sample() for name, site in observed.items()}
            groups["posterior_predictive"] = drawn
        if prior:
            with pyro.plate("particles", num_samples, dim=-2):
                trace = replicated(vae, x, known, "prior")
            values = {name: site["value"] for name, site in sample_sites(trace).items()}
            groups["prior"] = {name: values[name] for name in latent}
            groups["prior_predictive"] = {name: values[name] for name in observed}

    def named(name: str, value: Tensor, lead: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        array = value.detach().cpu().numpy()
        array = array[None] if lead[0] == "chain" else array
        rest = tuple((dims or {}).get(name, ()))
        rest += tuple(f"{name}_dim_{i}" for i in range(len(rest), array.ndim - len(lead)))
        return (*lead, *rest), array

    def dataset(values: Mapping[str, Tensor], lead: tuple[str, ...]) -> Any:
        arrays = {name: named(name, value, lead) for name, value in values.items()}
        used = {dim for names, _ in arrays.values() for dim in names}
        sizes = {dim: range(s) for n, a in arrays.values() for dim, s in zip(n, a.shape)}
        chosen = {k: v for k, v in (coords or {}).items() if k in used}
        return Dataset(arrays, coords={**sizes, **chosen})

    lead = ("chain", "draw", "datum")
    tree = {name: dataset(values, lead) for name, values in groups.items()}
    tree["observed_data"] = dataset({n: s["value"] for n, s in observed.items()}, ("datum",))
    return DataTree.from_dict(tree)
