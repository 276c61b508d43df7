from typing import Any

import pyro.distributions as dist

from ..distributions import Partial
from .wrapper import Wrapper


class MissingAtRandom(Wrapper):
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

    def forward(self, z: Any) -> dist.Distribution:
        return Partial(self.family(z))
