r"""What does the model imagine? New data, and data seen through the latent variable.

A *mean* is :math:`\mathbb{E}[x \mid z]`, the smooth picture that papers show; a *sample* is a
draw from :math:`p(x \mid z)`, what the model says data look like.
"""

from typing import Any, Literal

from torch import Tensor

from ..counted import counted
from ..data import Split
from ..programs import undisturbed
from .checks import check_rows, take

What = Literal["mean", "sample"]


@counted
def sample(vae: Any, num_samples: int, what: What = "sample", *, seed: int = 0) -> Tensor:
    r"""Draws :math:`z \sim p(z)`, then returns the mean or a sample of :math:`p(x \mid z)`.

    Arguments:
        vae: The VAE.
        num_samples: How many data.
        what: ``"mean"`` or ``"sample"``.
        seed: Seeds the draws; mean and sample of one seed share their :math:`z`.

    Returns:
        Data of shape `(num_samples, *x_shape)`.
    """
    with undisturbed(vae, seed):
        return _see(vae, vae.prior().expand((num_samples,)).sample(), what)


def reconstruct(
    vae: Any,
    x: Tensor | Split,
    what: What = "mean",
    *,
    index: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Draws :math:`z \sim q(z \mid x)`, then returns the mean or a sample of :math:`p(x \mid z)`.

    Arguments:
        vae: The VAE.
        x: The data, of shape `(B, *x_shape)`.
        what: ``"mean"`` or ``"sample"``.
        seed: Seeds the draws; mean and sample of one seed share their :math:`z`.

    Returns:
        Data of shape `(B, *x_shape)`.
    """
    check_rows(vae, index)
    x = take(vae, x, index).freeze(seed).rows(slice(None))
    with undisturbed(vae, seed) as device:
        known = () if index is None else (index.to(device),)
        return _see(vae, vae.posterior(x, *known).sample(), what)


def decode(vae: Any, z: Tensor, what: What = "mean", *, seed: int = 0) -> Tensor:
    r"""Returns the mean or a sample of :math:`p(x \mid z)`.

    Arguments:
        vae: The VAE.
        z: Latent variables, of shape `(B, latent_dim)`.
        what: ``"mean"`` or ``"sample"``.
        index: The row numbers of the data, of shape `(B,)`, for posteriors that want them.
        seed: Seeds the draws.

    Returns:
        Data of shape `(B, *x_shape)`.
    """
    with undisturbed(vae, seed) as device:
        return _see(vae, z.to(device), what)


def _see(vae: Any, z: Tensor, what: What) -> Tensor:
    if what not in ("mean", "sample"):
        raise ValueError(f"Expected 'mean' or 'sample'; got {what!r}.")
    likelihood = vae.likelihood(z)
    return likelihood.mean if what == "mean" else likelihood.sample()
