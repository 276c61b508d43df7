import warnings
from collections.abc import Callable
from typing import Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Posterior, Prior
from ..counted import Size
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
        ValueError: The posterior's density is not available at pseudo-inputs.
    """

    formula = "p(z) = 1/K sum_k q(z | u_k), the posterior averaged over K pseudo-inputs"
    advice = "a multimodal prior that cannot stray from the posterior; K encoder passes a step"
    support_name = "the posterior's"

    def __init__(self, posterior: Posterior, pseudo_inputs: Tensor, learned: bool = True) -> None:
        super().__init__()
        if posterior.density != "anywhere" or posterior.index:
            raise ValueError(
                "Expected a posterior whose density is available anywhere and for any input, as "
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

    @classmethod
    def from_recipe(
        cls,
        posterior: Posterior,
        training_rows: Callable[[int], Tensor],
        num_components: Size = 500,
        learned: bool = True,
    ) -> Self:
        r"""Builds the prior with training data as pseudo-inputs.

        Arguments:
            posterior: The posterior, shared with the VAE.
            training_rows: Draws this many training data without replacement.
            num_components: The number `K` of pseudo-inputs, which start at `K` training data.
            learned: Whether the pseudo-inputs are parameters, or stay training data.
        """
        return cls(posterior, training_rows(num_components), learned)

    def forward(self) -> dist.Distribution:
        return Mixture(dist.Categorical(logits=self.logits), self.posterior(self.pseudo_inputs))
