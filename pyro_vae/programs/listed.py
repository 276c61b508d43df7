r"""What is exact where all joint values of latent variables can be listed."""

from math import prod
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ..data import Split
from ..distributions import IndependentBernoulli
from ..distributions.discrete import OneHots
from .chunks import batches, rows_at_once
from .tracing import log_density, sample_sites

MAX_STATES = 2**16
TERMS_AT_ONCE = 2_000_000
SWEEPS = 500
STILL = 1e-9  # nats
LEAST_LOG = -700.0  # the smallest log probability whose exponential is a number


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
    at_once = rows_at_once(split)
    size = min(len(codes), max(1, at_once // min(len(split), 100)))
    rows = max(1, at_once // size)

    found = []
    for x, known in batches(split, rows):
        parts = []
        for some in codes.split(size):
            chosen = {
                name: values[place[some]][:, None].expand(-1, len(x), *values.shape[1:])
                for (name, values), place in zip(lists.items(), places)
            }
            with pyro.plate("particles", len(some), dim=-2), poutine.condition(data=chosen):
                joint = sample_sites(poutine.trace(vae.model).get_trace(x, **known))
            log_p = log_density(joint.values()).expand(len(some), len(x))
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


def joint_table(program: Any, q: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns all values of `z` and :math:`\log p(x, z)` of each, of shape `(S, B)`."""
    z = q.enumerate_support(expand=True)
    return z, program.prior().log_prob(z) + program.likelihood(z).log_prob(x)


def expected(q: Any, z: Tensor, joint: Tensor) -> Tensor:
    r"""Returns the ELBO of each datum, :math:`\sum_z q(z) [\log p(x, z) - \log q(z)]`."""
    log_q = q.log_prob(z)
    weight = log_q.exp()
    terms = weight * (joint - log_q)
    return torch.where(weight == 0, 0.0, terms).sum(0).double()


def ascend(program: Any, q: Any, x: Tensor) -> Tensor | None:
    r"""Finds logits of the best independent features by coordinate ascent, exactly.

    .. math:: \log q(z_i) = \mathbb{E}_{q(z_{-i})} \log p(x, z) + \text{const}

    for one feature (a bit, or a block of categories) after another, from where `q` is. No step
    lowers the ELBO. With a single feature the first is :math:`p(z \mid x)` itself.

    References:
        | Variational Inference: A Review for Statisticians (Blei et al., 2017), Eq. 17
        | https://arxiv.org/abs/1601.00670

    Arguments:
        program: A VAE.
        q: The posterior of some data.
        x: These data.

    Returns:
        The logits as the posterior's encoder returns them, or none where `q` is no product of
        features whose joint values can be listed.
    """
    if not isinstance(q, IndependentBernoulli | OneHots) or not q.has_enumerate_support:
        return None
    states = len(q.enumerate_support(expand=False))
    rows = max(1, TERMS_AT_ONCE // states)
    parts = [_ascend(program, q, x, at) for at in torch.arange(len(x)).split(rows)]
    return torch.cat(parts)


def _ascend(program: Any, q: Any, x: Tensor, rows: Tensor) -> Tensor:
    bits = isinstance(q, IndependentBernoulli)
    logits = (q.base_dist.logits if bits else q.logits)[rows]
    part = IndependentBernoulli(logits) if bits else OneHots(logits, q.num_categories)
    z, joint = joint_table(program, part, x[rows])
    codes = z[:, 0]  # the same for every datum
    size = 2 if bits else q.num_categories
    codes = codes.long() if bits else codes.unflatten(-1, (-1, size)).argmax(-1)
    logs = torch.stack([-logits, logits], -1) if bits else logits.unflatten(-1, (-1, size))
    logs = torch.nn.functional.logsigmoid(logs) if bits else logs.log_softmax(-1)
    logs = logs.double().clamp(min=LEAST_LOG)  # (B, F, C)
    joint = joint.double().T.clamp(min=-1e12)  # (B, S)
    features = range(logs.shape[1])
    log_q = torch.stack([logs[:, i, codes[:, i]] for i in features]).sum(0)
    bound = torch.full((len(rows),), -torch.inf).to(joint)
    for _ in range(SWEEPS):
        for i in features:
            others = log_q - logs[:, i, codes[:, i]]
            weighed = others.exp() * joint
            sums = weighed.new_zeros(len(rows), size).index_add_(1, codes[:, i], weighed)
            new = sums.log_softmax(-1).clamp(min=LEAST_LOG)
            logs[:, i] = new
            log_q = others + new[:, codes[:, i]]
        before, bound = bound, (log_q.exp() * (joint - log_q)).sum(1)
        if bool((bound - before < STILL).all()):
            break
    logs = logs[..., 1] - logs[..., 0] if bits else logs.flatten(-2)
    return logs.to(logits.dtype)
