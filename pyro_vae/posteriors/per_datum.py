from typing import Literal, Self

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..base import Posterior
from ..counted import counted
from .full_covariance_normal import FullCovarianceNormal
from .mean_field_normal import MeanFieldNormal


class PerDatum(Posterior):
    r"""Creates :math:`q(z \mid x_i) = q(z; \lambda_i)` with free parameters for every datum.

    This is stochastic variational inference without amortization: what an encoder loses against
    it is the amortization gap. There is nothing to say about data that were not trained on.

    References:
        | Stochastic Variational Inference (Hoffman et al., 2013)
        | https://arxiv.org/abs/1206.7055
        | Inference Suboptimality in Variational Autoencoders (Cremer et al., 2018)
        | https://arxiv.org/abs/1801.03558

    Arguments:
        family: A posterior whose encoder is an embedding, such as
            ``MeanFieldNormal(nn.Embedding(num_data, 2 * latent_dim))``.

    Example:
        >>> import torch
        >>> from pyro_vae.posteriors import MeanFieldNormal
        >>> posterior = PerDatum(MeanFieldNormal(nn.Embedding(100, 2 * 3)))
        >>> posterior(torch.zeros(2, 784), torch.tensor([5, 99])).event_shape
        torch.Size([3])
    """

    formula = "q(z | x_i) = q(z; lambda_i), free parameters for every datum"
    advice = "no amortization: the reference for the amortization gap; no unseen data"

    index = True

    def __init__(self, family: Posterior) -> None:
        nn.Module.__init__(self)  # the family holds the encoder
        self.family = family
        self.support, self.density = family.support, family.density
        self.reparameterized, self.enumerable = family.reparameterized, family.enumerable
        self.num_data = len(family.encoder.weight)  # type: ignore[arg-type]
        nn.init.normal_(family.encoder.weight, std=1e-2)  # type: ignore[arg-type]

    @classmethod
    @counted
    def from_recipe(
        cls,
        num_data: int,
        latent_dim: int,
        family: Literal["mean-field-normal", "full-covariance-normal"] = "mean-field-normal",
    ) -> Self:
        r"""Builds the posterior with an embedding that has a row for every training datum.

        Arguments:
            num_data: The number of training data.
            latent_dim: The number of latent features.
            family: Whose parameters every datum has.
        """
        if family == "mean-field-normal":
            rows = nn.Embedding(num_data, MeanFieldNormal.num_outputs(latent_dim))
            return cls(MeanFieldNormal(rows))
        rows = nn.Embedding(num_data, FullCovarianceNormal.num_outputs(latent_dim))
        return cls(FullCovarianceNormal(rows, latent_dim))

    def forward(self, x: Tensor, index: Tensor | None = None) -> dist.Distribution:
        count = self.num_data
        known = index is not None and index.shape == x.shape[: index.dim()]
        if index is None or not known or not torch._is_all_true(index < count):
            got = "none" if index is None else f"{list(index.shape)} up to {int(index.max())}"
            raise ValueError(
                f"Expected the row numbers, below {count}, of training data, for which alone "
                f"PerDatum has parameters; got {got}. Pass index=, or train on these data, too."
            )
        return self.family(index)
