r"""The best posterior of independent discrete features, where all joint values can be listed."""

from typing import Any

import torch
from torch import Tensor

from ..distributions import IndependentBernoulli
from ..distributions.discrete import OneHots

SWEEPS = 500
STILL = 1e-9  # nats
LEAST_LOG = -700.0  # the smallest log probability whose exponential is a number
TERMS_AT_ONCE = 2_000_000


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
    parts = [_rows(program, q, x, at) for at in torch.arange(len(x)).split(rows)]
    return torch.cat(parts)


def _rows(program: Any, q: Any, x: Tensor, rows: Tensor) -> Tensor:
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
