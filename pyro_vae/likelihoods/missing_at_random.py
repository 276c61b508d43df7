from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Likelihood
from ..distributions import Partial


class MissingAtRandom(Likelihood):
    r"""Creates :math:`p(x_\text{there} \mid z)` of any likelihood of independent elements.

    Elements that are missing (NaN) add nothing: they are integrated out. The importance weighted
    bound of it is that of MIWAE.

    References:
        | MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets
        | (Mattei & Frellsen, 2019), Eq. 4
        | https://arxiv.org/abs/1812.02633

    Arguments:
        family: The likelihood of whole data.
    """

    missing = True

    def __init__(self, family: Likelihood) -> None:
        nn.Module.__init__(self)  # the family holds the decoder
        self.family, self.event_dim = family, family.event_dim
        self.support = family.support

    @property
    def decoder(self) -> nn.Module:  # type: ignore[override]
        return self.family.decoder

    def outputs_at(self, mean: Tensor) -> Tensor | None:
        return self.family.outputs_at(mean)

    def forward(self, z: Any) -> dist.Distribution:
        return Partial(self.family(z))
