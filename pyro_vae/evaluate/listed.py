r"""Exact evidence of models whose latent variables can be listed."""

from math import prod
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..data import Split
from ..programs import density, sample_sites

MAX_STATES = 2**16
ELEMENTS_AT_ONCE = 1_000_000


@torch.no_grad()
def evidence(vae: Any, split: Split) -> Tensor | None:
    r"""Returns :math:`\log p(x) = \log \sum_z p(x, z)` of each datum, where `z` can be listed.

    Arguments:
        vae: A VAE, or a program.
        split: The data.

    Returns:
        The evidence in nats, of shape `(B,)` in double precision; nothing where a latent variable
        is not discrete, lies in other plates than that of the data, or all together have more
        than 65,536 values.
    """
    x, known = split.batch(slice(0, 1))
    sites = sample_sites(poutine.trace(vae.model).get_trace(x, **known))
    latent = {name: site for name, site in sites.items() if not site["is_observed"]}
    alone = all(
        [(f.dim, f.size) for f in site["cond_indep_stack"] if f.vectorized] == [(-1, 1)]
        for site in latent.values()
    )
    if not latent or not alone or any(name in split.known for name in latent):
        return None
    lists = {}
    for name, site in latent.items():
        values = states(site["fn"])
        if values is None:
            return None
        lists[name] = values
    sizes = [len(values) for values in lists.values()]
    if prod(sizes) > MAX_STATES:
        return None
    codes = torch.arange(prod(sizes), device=split.device)
    places = torch.unravel_index(codes, sizes)
    at_once = max(1, ELEMENTS_AT_ONCE // prod(split.x_shape))
    size = min(len(codes), max(1, at_once // min(len(split), 100)))
    rows = max(1, at_once // size)

    found = []
    for start in range(0, len(split), rows):
        x, known = split.batch(slice(start, start + rows))
        parts = []
        for some in codes.split(size):
            chosen = {
                name: values[place[some]][:, None].expand(-1, len(x), *values.shape[1:])
                for (name, values), place in zip(lists.items(), places)
            }
            with pyro.plate("particles", len(some), dim=-2), poutine.condition(data=chosen):
                joint = sample_sites(poutine.trace(vae.model).get_trace(x, **known))
            log_p = sum(density(site) for site in joint.values())
            log_p = torch.as_tensor(log_p).expand(len(some), len(x))
            parts.append(log_p.double().logsumexp(0))
        found.append(torch.stack(parts).logsumexp(0))
    return torch.cat(found)


def states(law: Any) -> Tensor | None:
    r"""Returns all values of one variable, of shape `(S, *event)`, or none where they are too many
    or cannot be listed."""
    event = law.event_shape
    while hasattr(law, "base_dist"):
        law = law.base_dist
    if hasattr(law, "num_categories"):  # one-hot blocks, each a variable
        count, blocks = law.num_categories, event[0] // law.num_categories
        rows = torch.eye(count, dtype=law.logits.dtype, device=law.logits.device)
        return _product(rows, blocks, event)
    try:
        if not law.has_enumerate_support:
            return None
        element = law.enumerate_support(expand=False)
    except NotImplementedError:
        return None
    element = element.reshape(len(element), *law.event_shape)
    return _product(element, prod(event[: len(event) - element.dim() + 1]), event)


def _product(element: Tensor, count: int, event: torch.Size) -> Tensor | None:
    r"""All combinations of `count` elements, each of shape `(S, *part)`."""
    if len(element) ** count > MAX_STATES:
        return None
    codes = torch.arange(len(element) ** count, device=element.device)
    places = torch.stack([codes // len(element) ** i % len(element) for i in range(count)], 1)
    return element[places].reshape(len(codes), *event)
