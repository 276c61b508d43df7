r"""A hierarchy with a fixed way up and a learned way down: diffusion, with its bound in nats."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..counted import Positive, counted
from ..nn import MLP
from .base import Relative

FREQUENCIES = 8
NOISE = "its codes are x with noise, which nothing has learned"


class Diffusion(Relative):
    r"""Creates a diffusion model of `T` steps.

    .. math:: q(z_t \mid x) = \mathcal{N}(\alpha_t x, \sigma_t^2), \quad
        \alpha_t^2 = 1 - \sigma_t^2 = \mathrm{sigmoid}(\lambda_t)

    The log ratios :math:`\lambda_t` of signal to noise fall evenly from :math:`t = 1` to
    :math:`T`. The model starts at :math:`p(z_T) = \mathcal{N}(0, I)`, and goes down by
    :math:`p(z_{t-1} \mid z_t)`: the Normal :math:`q(z_{t-1} \mid z_t, \hat x_t(z_t))` with a
    network for :math:`\hat x_t`, its standard deviation times a learned :math:`w_t`, as `x` is
    not known. Then :math:`p(x \mid z_1) = \mathcal{N}(\hat x_1(z_1), s^2)`. It is a hierarchical
    VAE whose posterior is fixed, and its ELBO is

    .. math:: \mathbb{E}_q \log p(x \mid z_1) - \mathrm{KL}(q(z_T \mid x) \,\|\, p(z_T))
        - \sum_{t=2}^{T} \mathbb{E}_q
        \mathrm{KL}(q(z_{t-1} \mid z_t, x) \,\|\, p(z_{t-1} \mid z_t))

    With :math:`w_t = 1` a term of the sum is :math:`\frac{1}{2} (e^{\lambda_{t-1}} -
    e^{\lambda_t}) \lVert x - \hat x_t(z_t) \rVert^2`. Training minimizes minus the ELBO, with
    one `t` a datum in the place of the sum.

    References:
        | Denoising Diffusion Probabilistic Models (Ho et al., 2020), Eq. 5
        | https://arxiv.org/abs/2006.11239
        | Variational Diffusion Models (Kingma et al., 2021), Eq. 11 to 15
        | https://arxiv.org/abs/2107.00630

    Arguments:
        x_shape: The shape of one datum.
        num_steps: The number `T` of steps.
        hidden_features: The hidden layers of the network, which sees :math:`z_t` and features of
            :math:`\lambda_t`, and returns :math:`v = \alpha_t \epsilon - \sigma_t x`.
        most: The log ratio :math:`\lambda_1` of signal to noise.
        least: The last one, :math:`\lambda_T`.
        activation: Any activation of torch.nn, by name.
        x_scale: What `x` is divided by first.
        x_mean: What is subtracted before, of shape `x_shape`.
    """

    formula = "p(z_T) prod_t p(z_t-1 | z_t) p(x | z_1), with q(z_t | x) = N(a_t x, 1 - a_t^2)"
    advice = "for samples by many small steps, and a bound of log p(x); sampling takes T passes"
    density = "lower bound"
    lacks: ClassVar[Mapping[str, str]] = {"encode": NOISE, "reconstruct": NOISE}

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        num_steps: int = 100,
        hidden_features: Sequence[int] = (128, 128, 128),
        most: float = 8.0,
        least: float = -8.0,
        activation: str = "SiLU",
        x_scale: Positive = 1.0,
        x_mean: Tensor | None = None,
    ) -> None:
        super().__init__(x_shape)
        if num_steps < 2 or least >= most:
            raise ValueError(
                "Expected two steps or more, and log ratios that fall from `most` to `least`; got "
                f"{num_steps} steps from {most} to {least}."
            )
        self.num_steps, self.x_scale = num_steps, x_scale
        size = prod(self.x_shape)
        self.net = MLP(size + 2 * FREQUENCIES, hidden_features, size, activation, init="kaiming")
        self.log_scale = nn.Parameter(torch.tensor(-most / 2))  # of s
        self.log_wider = nn.Parameter(torch.zeros(num_steps))  # of w_t; that of t = 1 is not used
        ratios = torch.linspace(most, least, num_steps, dtype=torch.double)
        mean = torch.zeros(size) if x_mean is None else x_mean.flatten()
        self.ratios: Tensor
        self.mean: Tensor
        self.register_buffer("ratios", ratios.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("mean", mean.to(torch.get_default_dtype()))

    # --- The fixed way up ------------------------------------------------------------------------

    def noised(self, x: Tensor, t: Tensor | int) -> dist.Normal:
        r"""Returns :math:`q(z_t \mid x)`, element by element; t is from 1 to T, for each datum."""
        signal, noise = self._rates(t)
        return dist.Normal(signal * self._standard(x), noise)

    def between(self, start: Tensor, z: Tensor, t: Tensor | int) -> dist.Normal:
        r"""Returns :math:`q(z_{t-1} \mid z_t, x)`.

        Arguments:
            start: `x`, standardized, of shape `(B, D)`.
            z: :math:`z_t`, of shape `(B, D)`.
            t: From 2 to T, a number or one for each datum, of shape `(B, 1)`.
        """
        (signal, _), (before, noise_before) = self._rates(t), self._rates(t - 1)
        share = -torch.expm1(
            self._at(t) - self._at(t - 1)
        )  # of the noise in z_t, that step t adds
        loc = (1 - share) * before / signal * z + before * share * start
        return dist.Normal(loc, noise_before * share.sqrt())

    # --- The learned way down --------------------------------------------------------------------

    def guess(self, z: Tensor, t: Tensor | int) -> Tensor:
        r"""Returns :math:`\hat x_t(z_t)`, standardized, of shape `(B, D)`."""
        signal, noise = self._rates(t)
        angle = self._at(t) / 8 * 2.0 ** torch.arange(FREQUENCIES, device=z.device)
        seen = torch.cat([angle.sin(), angle.cos()], -1).to(z.dtype)
        v = self.net(torch.cat([z, seen.expand(*z.shape[:-1], -1)], -1))
        return signal * z - noise * v

    def down(self, z: Tensor, t: Tensor | int) -> dist.Normal:
        r"""Returns :math:`p(z_{t-1} \mid z_t)`, for t from 2 to T."""
        law = self.between(self.guess(z, t), z, t)
        return dist.Normal(law.loc, law.scale * self.log_wider[t - 1].exp())

    def decode(self, z: Tensor) -> dist.Normal:
        r"""Returns :math:`p(x \mid z_1)` of `x` as vectors."""
        loc = self.mean + self.x_scale * self.guess(z, 1)
        return dist.Normal(loc, self.x_scale * self.log_scale.exp())

    # --- The bound -------------------------------------------------------------------------------

    def loss(self, x: Tensor) -> Tensor:
        count, steps = len(x), self.num_steps
        even = (torch.arange(count, device=x.device) + torch.rand((), device=x.device)) / count
        t = 2 + (even * (steps - 1)).long().clamp(max=steps - 2)[torch.randperm(count)][:, None]
        z, z1 = (self.noised(x, at).sample() for at in (t, 1))
        return (steps - 1) * self.rate(x, z, t) + self.last_rate(x) - self.reconstruction(x, z1)

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Returns the ELBO, with one draw of each :math:`z_t`."""
        return self.bound(x, [self.noised(x, t).sample() for t in range(1, self.num_steps + 1)])

    def bound(self, x: Tensor, z: Sequence[Tensor]) -> Tensor:
        r"""Returns the ELBO in nats for given draws, all terms in closed form but for them.

        Arguments:
            x: The data, of shape `(B, *x_shape)`.
            z: Draws of :math:`z_1 \ldots z_T`, each of shape `(B, D)`.
        """
        rates = [self.rate(x, z[t - 1], t) for t in range(2, self.num_steps + 1)]
        return self.reconstruction(x, z[0]) - self.last_rate(x) - torch.stack(rates).sum(0)

    def reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        r"""Returns :math:`\log p(x \mid z_1)`, of shape `(B,)`."""
        return self.decode(z).log_prob(x.flatten(1)).sum(1)

    def rate(self, x: Tensor, z: Tensor, t: Tensor | int) -> Tensor:
        r"""Returns :math:`\mathrm{KL}(q(z_{t-1} \mid z_t, x) \,\|\, p(z_{t-1} \mid z_t))`."""
        q, p = self.between(self._standard(x), z, t), self.down(z, t)
        return torch.distributions.kl_divergence(q, p).sum(1)

    def last_rate(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\mathrm{KL}(q(z_T \mid x) \,\|\, p(z_T))`, nearly zero."""
        q = self.noised(x, self.num_steps)
        return torch.distributions.kl_divergence(q, dist.Normal(0.0, 1.0)).sum(1)

    # --- Samples ---------------------------------------------------------------------------------

    def sample(self, num_samples: int) -> Tensor:
        with torch.no_grad():
            z = torch.randn(num_samples, len(self.mean)).to(self.mean)
            for t in range(self.num_steps, 1, -1):
                z = self.down(z, t).sample()
            return self.decode(z).sample().reshape(-1, *self.x_shape)

    # --- Parts -----------------------------------------------------------------------------------

    def _standard(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.mean) / self.x_scale

    def _at(self, t: Tensor | int) -> Tensor:
        return self.ratios[t - 1]

    def _rates(self, t: Tensor | int) -> tuple[Tensor, Tensor]:
        ratio = self._at(t)
        return ratio.sigmoid().sqrt(), (-ratio).sigmoid().sqrt()
