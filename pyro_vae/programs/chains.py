r"""Chains on the latent variables of a program, and how well they have mixed."""

import warnings
from typing import Any

import pyro
import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from .unconstrained import Unconstrained


def nuts_chain(
    vae: Any, x: Tensor, known: dict, latents: Unconstrained, num_samples: int, num_warmup: int
) -> Tensor:
    r"""Returns draws of NUTS for one datum, of shape `(num_samples, dim)`, on the real line.

    Arguments:
        vae: A VAE, or a program.
        x: The datum, of shape `(1, *x_shape)`.
        known: Further inputs of both programs.
        latents: Its latent variables.
        num_samples: The number of draws.
        num_warmup: The number of steps before them, in which step sizes are found.
    """
    start = latents.draw(1, "guide", x, **known)  # says what the guide lacks
    if not bool(start.isfinite().all()):  # of a guide that does not know holes
        start = latents.draw(1, "prior", x, **known)
    values, _ = latents.split(start[0])
    first = {name: latents.transforms[name].inv(value) for name, value in values.items()}
    with torch.enable_grad(), warnings.catch_warnings(), pyro.validation_enabled(False):
        warnings.simplefilter("ignore")  # PyTorch's about the tracing of Pyro's integrator
        mcmc = MCMC(
            NUTS(vae.model),
            num_samples=num_samples,
            warmup_steps=num_warmup,
            initial_params=first,
            disable_progbar=True,
        )
        mcmc.run(x, **known)
    draws = mcmc.get_samples()
    u = latents.join({name: draws[name] for name in latents.shapes})
    return u[:, 0].detach()


def mixing(chains: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns how well chains have mixed: the worst of all features.

    Features that never change tell nothing, and count as mixed.

    Arguments:
        chains: The chains, of shape `(num_chains, num_samples, *batch, dim)`, with four samples
            at least.

    Returns:
        The largest split R-hat, and the smallest effective sample size of a mean or a second
        moment, each of shape `batch`.
    """
    chains = chains.double()
    most = float(chains.shape[0] * chains.shape[1])
    rhat, still = split_gelman_rubin(chains), _never_changes(chains)
    rhat = rhat.masked_fill(still, 1.0).nan_to_num(nan=torch.inf, posinf=torch.inf)
    sizes = [_size(chains, still), _size(chains.square(), _never_changes(chains.square()))]
    return rhat.amax(-1), torch.stack(sizes).amin(0).amin(-1).clamp(1.0, most)


def _never_changes(chains: Tensor) -> Tensor:
    return (chains == chains[:1, :1]).flatten(0, 1).all(0)


def _size(chains: Tensor, still: Tensor) -> Tensor:
    r"""The effective sample size of each feature; one that never changes makes Pyro's those of all
    features NaN, and is left out."""
    other = torch.arange(chains.shape[1]).to(chains) % 2
    other = other.reshape(-1, *[1] * (chains.dim() - 2)).expand_as(chains)
    sizes = effective_sample_size(torch.where(still, other, chains))
    return sizes.masked_fill(still, torch.inf).nan_to_num(nan=1.0, posinf=torch.inf)
