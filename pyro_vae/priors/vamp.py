import warnings

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Posterior, Prior
from ..distributions import Mixture

MANY_PASSES = 10_000


class Vamp(Prior):
    r"""Creates the VampPrior :math:`p(z) = \frac{1}{K} \sum_k q(z \mid u_k)`.

    References:
        | VAE with a VampPrior (Tomczak & Welling, 2018), Eq. 9
        | https://arxiv.org/abs/1705.07120

    Arguments:
        posterior: The posterior :math:`q(z \mid x)`, shared with the VAE.
        pseudo_inputs: Where the learned pseudo-inputs :math:`u_k` start, of shape
            `(K, *x_shape)`; training data are a good choice.
        learned: Whether the pseudo-inputs are parameters, or stay what they are.

    Raises:
        ValueError: The posterior's density cannot be asked at pseudo-inputs.
    """

    def __init__(self, posterior: Posterior, pseudo_inputs: Tensor, learned: bool = True) -> None:
        super().__init__()
        if posterior.density != "anywhere" or posterior.index:
            raise ValueError(
                "Expected a posterior whose density can be asked anywhere and at any input, as "
                f"the VampPrior sums it over pseudo-inputs; got {type(posterior).__name__}. "
                "Choose MeanFieldNormal, FullCovarianceNormal or IAF, or another prior, such as "
                "StandardNormal."
            )
        if (passes := len(pseudo_inputs) * posterior.passes) > MANY_PASSES:
            warnings.warn(
                f"A density of this VampPrior takes {passes} passes of the networks of "
                f"{type(posterior).__name__}: expect slow training, or take fewer pseudo-inputs.",
                stacklevel=2,
            )
        self.support = posterior.support
        self.posterior = posterior
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone(), requires_grad=learned)
        self.logits: Tensor
        self.register_buffer("logits", torch.zeros(len(pseudo_inputs)), persistent=False)

    def forward(self) -> dist.Distribution:
        return Mixture(dist.Categorical(logits=self.logits), self.posterior(self.pseudo_inputs))
