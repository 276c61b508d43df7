import pyro.distributions as dist
from torch import Tensor, nn

from .. import transforms
from ..base import Posterior
from ..counted import counted
from ..distributions import Flow, scale_of


class Planar(Posterior):
    r"""Creates :math:`q(z \mid x)`: a Normal through planar flows that depend on :math:`x`.

    .. math:: z_t = z_{t - 1} + \hat{u}_t \tanh(w_t^\top z_{t - 1} + b_t)

    References:
        | Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015), Eq. 10 and 13
        | https://arxiv.org/abs/1505.05770

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma` and each
            :math:`u_t, w_t, b_t`, of shape
            `(*batch, 2 * latent_dim + num_transforms * (2 * latent_dim + 1))`.
        latent_dim: The number of latent features.
        num_transforms: The number of transforms.
    """

    formula = "q(z | x): a Normal through planar flows z + u tanh(w'z + b)"
    advice = "for teaching; each flow bends along one direction"

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int, num_transforms: int = 4) -> None:
        super().__init__(encoder)
        self.sizes = [latent_dim, latent_dim] + [latent_dim, latent_dim, 1] * num_transforms

    @staticmethod
    def num_outputs(latent_dim: int, num_transforms: int = 4) -> int:
        return 2 * latent_dim + num_transforms * (2 * latent_dim + 1)

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale, *rest = self.encoder(x).split(self.sizes, dim=-1)
        steps = [transforms.Planar(*rest[i : i + 3]) for i in range(0, len(rest), 3)]
        normal = dist.Normal(loc, scale_of(log_scale)).to_event(1)
        return Flow(normal, steps)
