r"""The evidence lower bound, told apart into reconstruction and KL term."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import pyro
from pyro import poutine
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor


class Terms(NamedTuple):
    r"""The terms of the bound, in nats per datum, each a 0-dim tensor.

    ``loss`` can be differentiated; the others are for looking at and carry no KL weight.
    """

    loss: Tensor
    reconstruction: Tensor
    kl: Tensor


class ELBO:
    r"""Creates the reparameterized evidence lower bound of any Pyro model and guide.

    .. math::
        \mathcal{L}(x) = \mathbb{E}_{q(z \mid x)} [\log p(x \mid z)]
            - \mathrm{KL}(q(z \mid x) \,\|\, p(z)) \leq \log p(x)

    Both terms are estimated from the same samples :math:`z = g(\epsilon, x)`; the value equals
    that of :class:`pyro.infer.Trace_ELBO` under the same seed, divided by the batch size.

    References:
        | Auto-Encoding Variational Bayes (Kingma & Welling, 2014), Eq. 3 and 6
        | https://arxiv.org/abs/1312.6114

    Arguments:
        num_particles: The number of samples of :math:`z` per datum.
    """

    def __init__(self, num_particles: int = 1) -> None:
        self.num_particles = num_particles

    def __call__(self, model: Callable, guide: Callable, x: Tensor, **kwargs: Any) -> Terms:
        r"""
        Arguments:
            model: A Pyro program whose data are `x`, with plate dimension -1.
            guide: Its guide, whose every latent site is reparameterized.
            x: The data, of shape `(B, *x_shape)`.
            kwargs: Passed to both programs.

        Returns:
            The loss :math:`-\frac{1}{B} \sum_i \mathcal{L}(x_i)` and its terms.

        Raises:
            ValueError: A site of the guide is not reparameterized.
        """
        particles = (
            pyro.plate("particles", self.num_particles, dim=-2)
            if self.num_particles > 1
            else nullcontext()
        )
        with particles:
            q = poutine.trace(guide).get_trace(x, **kwargs)
            p = poutine.trace(poutine.replay(model, trace=q)).get_trace(x, **kwargs)
        p, q = prune_subsample_sites(p), prune_subsample_sites(q)
        p.compute_log_prob()
        q.compute_log_prob()

        objective, reconstruction, kl = 0.0, 0.0, 0.0
        for trace, sign in ((p, 1.0), (q, -1.0)):
            for name, site in trace.nodes.items():
                if site["type"] != "sample":
                    continue
                if trace is q and not site["fn"].has_rsample:
                    raise ValueError(
                        f"Expected reparameterized latent sites; got {name!r}, a "
                        f"{type(site['fn']).__name__}. Train it with TraceGraph_ELBO."
                    )
                objective = objective + sign * site["log_prob_sum"]
                value = site["unscaled_log_prob"].detach().sum()
                if site["is_observed"]:
                    reconstruction = reconstruction + value
                else:
                    kl = kl - sign * value

        count = len(x) * self.num_particles
        return Terms(-objective / count, reconstruction / count, kl / count)  # type: ignore
