r"""A generator that learns from a critic alone."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from ..counted import Positive, Size, counted
from ..nn import MLP
from .base import Relative, Update

NO_ENCODER = "nothing leads from x back to the noise that the generator is given"


class GAN(Relative):
    r"""Creates a generative adversarial network, non-saturating, with a critic that is smooth.

    .. math:: \ell_D = \mathbb{E}_x \zeta(-D(x)) + \mathbb{E}_\epsilon \zeta(D(G(\epsilon)))
        \qquad \ell_G = \mathbb{E}_\epsilon \zeta(-D(G(\epsilon))), \quad \zeta(t) = \log(1 + e^t)

    The critic is kept smooth by the spectral norms of its layers, which are 1, or by a penalty of
    its gradient at the data, :math:`\frac{\gamma}{2} \lVert \nabla_x D(x) \rVert^2`. There is no
    density: nothing but samples says how good it is (:func:`pyro_vae.evaluate.compare_samples`).

    References:
        | Generative Adversarial Networks (Goodfellow et al., 2014), Sec. 3
        | https://arxiv.org/abs/1406.2661
        | Spectral Normalization for Generative Adversarial Networks (Miyato et al., 2018), Eq. 8
        | https://arxiv.org/abs/1802.05957
        | Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), Eq. 9
        | https://arxiv.org/abs/1801.04406

    Arguments:
        x_shape: The shape of one datum.
        noise_dim: The number of features of the noise :math:`\epsilon \sim \mathcal{N}(0, I)`.
        hidden_features: The hidden layers of both networks.
        smooth: ``"spectral-norm"`` or ``"gradient-penalty"``.
        penalty: The weight :math:`\gamma` of the penalty.
        bounded: Whether `x` lies between 0 and `x_scale`, as pixels do.
        activation: Any activation of torch.nn, by name.
        x_scale: What `x` is divided by.
        x_mean: What samples start around if they are not bounded, of shape `x_shape`.
    """

    formula = "x = G(e), e ~ N(0, I); D tells samples and data apart"
    advice = "for sharp samples and no density; may lose modes"
    lacks: ClassVar[Mapping[str, str]] = {
        "log_prob": "its samples fill a surface, which has no density",
        "encode": NO_ENCODER,
        "reconstruct": NO_ENCODER,
    }
    measures = ("loss", "critic_loss")

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        noise_dim: Size = 16,
        hidden_features: Sequence[int] = (128, 128),
        smooth: Literal["spectral-norm", "gradient-penalty"] = "gradient-penalty",
        penalty: Positive = 1.0,
        bounded: bool = False,
        activation: str = "SiLU",
        x_scale: Positive = 1.0,
        x_mean: Tensor | None = None,
    ) -> None:
        super().__init__(x_shape)
        self.noise_dim, self.bounded, self.x_scale = noise_dim, bounded, x_scale
        self.penalty = penalty if smooth == "gradient-penalty" else 0.0
        size = prod(self.x_shape)
        self.generator = MLP(noise_dim, hidden_features, size, activation, init="kaiming")
        self.critic = MLP(size, hidden_features, 1, activation, init="kaiming")
        if smooth == "spectral-norm":
            for layer in self.critic.layers:
                if isinstance(layer, nn.Linear):
                    spectral_norm(layer)
        if x_mean is not None and not bounded:
            with torch.no_grad():
                bias = self.generator.get_parameter("output_bias")
                bias.copy_(x_mean.flatten() / x_scale)

    def loss(self, x: Tensor) -> Tensor:
        r"""Returns the loss of the generator, on as many samples as there are data."""
        return softplus(-self.critic(self._drawn(len(x))))[:, 0]

    def critic_loss(self, x: Tensor) -> Tensor:
        r"""Returns the loss of the critic, with its penalty, of shape `(B,)`."""
        with torch.no_grad():
            drawn = self._drawn(len(x))
        data = (x.flatten(1) / self.x_scale).requires_grad_(self.penalty > 0)
        score = self.critic(data)
        loss = (softplus(-score) + softplus(self.critic(drawn)))[:, 0]
        if self.penalty == 0:
            return loss
        (slope,) = torch.autograd.grad(score.sum(), data, create_graph=True)
        return loss + self.penalty / 2 * slope.square().sum(1)

    def step(self, x: Tensor, update: Update) -> list[Tensor]:
        critic_loss = self.critic_loss(x).mean()
        update(critic_loss, self.critic.parameters())
        loss = self.loss(x).mean()
        norm = update(loss, self.generator.parameters())
        return [loss.detach(), critic_loss.detach(), norm]

    def sample(self, num_samples: int) -> Tensor:
        with torch.no_grad():
            return (self._drawn(num_samples) * self.x_scale).reshape(-1, *self.x_shape)

    def _drawn(self, count: int) -> Tensor:
        r"""Samples divided by `x_scale`, as vectors."""
        noise = torch.randn(count, self.noise_dim)
        y = self.generator(noise.to(next(self.generator.parameters())))
        return y.sigmoid() if self.bounded else y
