r"""The autoencoder: plain, sparse, denoising, contractive."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import binary_cross_entropy_with_logits

from ..counted import Positive, Size, counted
from ..nn import MLP
from .base import Relative

NO_LAW = "it turns data into codes and back, and has no distribution of either"


class Autoencoder(Relative):
    r"""Creates an autoencoder, plain, or with any of three things that keep codes from copying.

    .. math::
        \ell(x) = \mathbb{E}_{C(\tilde x \mid x)} L(x, g(f(\tilde x)))
        + \lambda \lVert f(x) \rVert_1
        + \gamma \lVert \frac{\partial f}{\partial x} \rVert_F^2

    The error :math:`L` is squared, of :math:`x` divided by `x_scale`; or the cross-entropy
    :math:`-\sum_d x_d \log y_d + (1 - x_d) \log (1 - y_d)`.

    References:
        | Reducing the Dimensionality of Data with Neural Networks (Hinton & Salakhutdinov, 2006)
        | Extracting and Composing Robust Features with Denoising Autoencoders (Vincent et al.,
        | 2008), Sec. 2.3
        | Contractive Auto-Encoders (Rifai et al., 2011), Eq. 5 and 7
        | Deep Learning (Goodfellow et al., 2016), Sec. 14.2

    Arguments:
        x_shape: The shape of one datum.
        code_dim: The number of features of a code.
        error: The squared error, or for bits and numbers in 0..1 the cross-entropy.
        noise: The corruption :math:`C`; zero is none. Of squared errors the standard deviation of
            what is added to `x / x_scale`; of the cross-entropy the probability that an element is
            replaced by 0 or 1, with even odds.
        sparsity: The weight :math:`\lambda`. Above zero, codes are rectified, so that features can
            be zero; each counts times the norm of its weights in the decoder, so that small
            features with large weights cost the same.
        contraction: The weight :math:`\gamma`; the Jacobian, of :math:`x` divided by `x_scale`, is
            exact, with a backward pass for each feature.
        hidden_features: The size of each hidden layer of the encoder; the decoder mirrors it.
        activation: Any activation of torch.nn, by name.
        x_scale: What `x` is divided by.
    """

    formula = "|x - g(f(x))|^2"
    advice = "for codes alone; with noise denoising, with sparsity sparse, with contraction so"
    lacks: ClassVar[Mapping[str, str]] = {"sample": NO_LAW, "log_prob": NO_LAW}

    @counted
    def __init__(
        self,
        x_shape: Sequence[int],
        code_dim: Size = 12,
        error: Literal["squared", "cross-entropy"] = "squared",
        noise: float = 0.0,
        sparsity: float = 0.0,
        contraction: float = 0.0,
        hidden_features: Sequence[int] = (200,),
        activation: str = "Tanh",
        x_scale: Positive = 1.0,
    ) -> None:
        super().__init__(x_shape)
        bits = error == "cross-entropy"
        if not all(0 <= weight < inf for weight in (noise, sparsity, contraction)):
            raise ValueError(
                "Expected noise, sparsity and contraction of zero or more; got "
                f"{noise:g}, {sparsity:g} and {contraction:g}."
            )
        if bits and noise > 1:
            raise ValueError(
                f"Expected noise as a probability, with cross-entropy; got {noise:g}."
            )
        if bits:
            self.support = constraints.unit_interval
        self.error, self.noise, self.x_scale = error, noise, x_scale
        self.sparsity, self.contraction = sparsity, contraction
        self.encoder = MLP(self.x_shape, hidden_features, code_dim, activation, scale=x_scale)
        self.decoder = MLP(code_dim, [*hidden_features][::-1], self.x_shape, activation)

    def encode(self, x: Tensor) -> Tensor:
        code: Tensor = self.encoder(x)
        return code.relu() if self.sparsity else code

    def decode(self, code: Tensor) -> Tensor:
        r"""Returns the reconstruction from codes, of shape `(B, *x_shape)`."""
        y: Tensor = self.decoder(code)
        return y.sigmoid() if self.error == "cross-entropy" else y * self.x_scale

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    def loss(self, x: Tensor) -> Tensor:
        code = self.encode(self.corrupt(x)) if self.noise else self.encode(x)
        loss = self.distance(x, code)
        if self.sparsity:
            loss = loss + self.sparsity * (self.encode(x) * self.atom_norms()).sum(1)
        if self.contraction:
            loss = loss + self.contraction * self.stretch(x)
        return loss

    # --- Terms of the loss ----------------------------------------------------------------------

    def corrupt(self, x: Tensor) -> Tensor:
        r"""Returns data with noise."""
        if self.error == "squared":
            return x + self.noise * self.x_scale * torch.randn_like(x)
        return salt_and_pepper(x, self.noise)

    def distance(self, x: Tensor, code: Tensor) -> Tensor:
        r"""Returns the error of `x` as the code has it, of shape `(B,)`."""
        x, y = x.flatten(1), self.decoder(code).flatten(1)
        if self.error == "squared":
            return (x / self.x_scale - y).square().sum(1)
        return binary_cross_entropy_with_logits(y, x, reduction="none").sum(1)

    def atom_norms(self) -> Tensor:
        r"""Returns the norm of each feature's weights in the decoder, of shape `(code_dim,)`."""
        return self.decoder.layers[0].weight.norm(dim=0)  # type: ignore[operator]

    def stretch(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\lVert \partial f / \partial x \rVert_F^2` of each datum, of shape
        `(B,)`."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            rows = [
                torch.autograd.grad(feature.sum(), x, create_graph=learning, retain_graph=True)[0]
                for feature in self.encode(x).unbind(1)
            ]
        return torch.stack(rows).mul(self.x_scale).square().flatten(2).sum((0, 2))


def salt_and_pepper(x: Tensor, rate: float) -> Tensor:
    r"""Returns data in which each element is 0 or 1, with even odds, with probability `rate`."""
    replaced = torch.rand_like(x) < rate
    return torch.where(replaced, torch.bernoulli(torch.full_like(x, 0.5)), x)
