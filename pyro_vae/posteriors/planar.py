from torch import nn

from .. import flows
from ..counted import counted
from .flow import Flow


class Planar(Flow):
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
        super().__init__(encoder, latent_dim, [flows.Planar()] * num_transforms)

    @staticmethod
    def num_outputs(latent_dim: int, num_transforms: int = 4) -> int:
        return flows.num_outputs(latent_dim, [flows.Planar()] * num_transforms)
