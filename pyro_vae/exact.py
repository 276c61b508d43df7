r"""Models about which everything is known, to check and to teach with."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from .likelihoods import Gaussian
from .models import VAE
from .nn import MLP
from .posteriors import FullCovarianceNormal, MeanFieldNormal
from .priors import StandardNormal


def linear_gaussian(dim: int, latent_dim: int, sigma: float, posterior: str = "mean-field") -> VAE:
    r"""Returns the VAE of probabilistic PCA, with random weights.

    .. math:: p(z) = \mathcal{N}(0, I), \quad p(x \mid z) = \mathcal{N}(W z + b, \sigma^2 I)

    Its encoder is linear too, and can be the best of its family: see :class:`Exact`.

    References:
        | Probabilistic Principal Component Analysis (Tipping & Bishop, 1999)

    Arguments:
        dim: The number of elements of x.
        latent_dim: The number of latent features.
        sigma: The standard deviation of the noise, in the units of x, held fixed.
        posterior: ``"mean-field"`` or ``"full"``.

    Raises:
        ValueError: `sigma` is not positive, or `posterior` is another word.
    """
    if sigma <= 0 or posterior not in ("mean-field", "full"):
        raise ValueError(
            "Expected sigma > 0 and the posterior 'mean-field' or 'full'; got "
            f"{sigma} and {posterior!r}."
        )
    full = posterior == "full"
    outputs = latent_dim + latent_dim * (latent_dim + 1) // 2 if full else 2 * latent_dim
    encoder = MLP(dim, [], outputs)
    return VAE(
        StandardNormal(latent_dim),
        Gaussian(MLP(latent_dim, [], dim), sigma="fixed", scale=sigma),
        FullCovarianceNormal(encoder, latent_dim) if full else MeanFieldNormal(encoder),
    )


class Exact:
    r"""Creates the closed forms of a linear-Gaussian VAE, as its weights are now.

    .. math::
        p(x) = \mathcal{N}(b, W W^\top + \sigma^2 I), \quad
        p(z \mid x) = \mathcal{N}(\Lambda^{-1} W^\top (x - b) / \sigma^2, \Lambda^{-1}), \quad
        \Lambda = I + W^\top W / \sigma^2

    Arguments:
        vae: What :func:`linear_gaussian` returned, trained or not.

    Raises:
        ValueError: The prior is not standard Normal, or the decoder not linear with one sigma.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> vae = linear_gaussian(5, 2, 0.5)
        >>> exact = Exact(vae)
        >>> exact.log_marginal(torch.zeros(3, 5)).shape
        torch.Size([3])
    """

    def __init__(self, vae: VAE) -> None:
        layers: Any = getattr(vae.likelihood.decoder, "layers", [])
        gaussian = getattr(vae.likelihood, "sigma", None) in ("fixed", "shared", "optimal")
        if len(layers) != 1 or not gaussian or not isinstance(vae.prior, StandardNormal):
            raise ValueError(
                "Expected a linear-Gaussian VAE, as linear_gaussian makes it; got "
                f"{type(vae.prior).__name__}, {type(vae.likelihood).__name__} and a decoder of "
                f"{len(layers)} layers."
            )
        linear = layers[0]
        self.w, self.b = linear.weight.detach().clone(), linear.bias.detach().clone()
        self.variance = vae.likelihood.log_scale.detach().exp() ** 2
        dim, latent_dim = self.w.shape
        eye = torch.eye(latent_dim, dtype=self.w.dtype, device=self.w.device)
        noise = self.variance * torch.eye(dim, dtype=self.w.dtype, device=self.w.device)
        self.marginal = MultivariateNormal(self.b, self.w @ self.w.T + noise)
        self.precision = eye + self.w.T @ self.w / self.variance
        self.covariance = torch.linalg.inv(self.precision)

    def log_marginal(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\log p(x)` in nats, of shape `(B,)`."""
        return self.marginal.log_prob(x)

    def posterior_mean(self, x: Tensor) -> Tensor:
        r"""Returns the mean of :math:`p(z \mid x)`, of shape `(B, latent_dim)`."""
        return (x - self.b) @ self.w @ self.covariance / self.variance

    def posterior(self, x: Tensor) -> MultivariateNormal:
        r"""Returns :math:`p(z \mid x)`."""
        return MultivariateNormal(self.posterior_mean(x), precision_matrix=self.precision)

    @property
    def approximation_gap(self) -> float:
        r"""What the best diagonal posterior loses, in nats:
        :math:`\frac{1}{2} (\sum_j \log \Lambda_{jj} - \log \det \Lambda)`."""
        return 0.5 * float(self.precision.diagonal().log().sum() - torch.logdet(self.precision))

    def set_posterior(self, vae: VAE) -> None:
        r"""Gives the encoder of `vae` the exact posterior, or its best diagonal approximation."""
        linear: Any = vae.posterior.encoder.layers[0]
        size = len(self.covariance)
        gain = self.covariance @ self.w.T / self.variance
        with torch.no_grad():
            linear.weight.zero_()
            linear.weight[:size] = gain
            linear.bias[:size] = -gain @ self.b
            if isinstance(vae.posterior, MeanFieldNormal):
                linear.bias[size:] = -0.5 * self.precision.diagonal().log()
            else:
                tril = torch.linalg.cholesky(self.covariance)
                tril = tril.tril(-1) + tril.diagonal().log().diag()
                rows, columns = torch.tril_indices(size, size)
                linear.bias[size:] = tril[rows, columns]
