import pyro.distributions as dist
from pyro.distributions import constraints
from torch import Tensor
from torch.nn.functional import normalize, softplus

from .. import distributions
from ..base import Posterior

LARGEST = 1e8


class VonMisesFisher(Posterior):
    r"""Creates :math:`q(z \mid x) \propto e^{\kappa(x) \mu(x)^\top z}` on the unit sphere.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018), Sec. 3
        | https://arxiv.org/abs/1804.00891

    Arguments:
        encoder: Maps :math:`x` to the direction of :math:`\mu` and a number whose softplus is
            :math:`\kappa`, of shape `(*batch, latent_dim + 1)`. Above :math:`10^8`, where single
            precision has no directions left between, :math:`\kappa` counts as that.
    """

    formula = "q(z | x) = exp(kappa(x) mu(x)'z) / C on the unit sphere"
    advice = "for directions, with the hypersphere-uniform prior"

    support = constraints.sphere

    @staticmethod
    def num_outputs(latent_dim: int) -> int:
        return latent_dim + 1

    def forward(self, x: Tensor) -> dist.Distribution:
        outputs = self.encoder(x)
        concentration = (softplus(outputs[..., -1]) + 1e-3).clamp(max=LARGEST)
        return distributions.VonMisesFisher(normalize(outputs[..., :-1], dim=-1), concentration)
