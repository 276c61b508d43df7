from torch import nn

from .. import flows
from ..counted import counted
from .flow import Flow


class Sylvester(Flow):
    r"""Creates :math:`q(z \mid x)`: a Normal through Sylvester flows that depend on :math:`x`.

    .. math:: z_t = z_{t - 1} + Q R \tanh(\tilde{R} Q^\top z_{t - 1} + b)

    R are upper triangular with diagonals within (-1, 1), Q a product of reflections.

    References:
        | Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018), Eq. 8
        | https://arxiv.org/abs/1803.05649

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma` and, for each transform, the
            reflections, the rows of both triangles and :math:`b`, of shape `(*batch,
            2 * latent_dim + num_transforms * latent_dim * (num_reflections + latent_dim + 2))`.
        latent_dim: The number of latent features.
        num_transforms: The number of transforms.
        num_reflections: The number of reflections in each Q.
    """

    formula = "q(z | x): a Normal through Sylvester flows z + Q R tanh(R~ Q'z + b)"
    advice = "a planar flow in all directions at once; large encoders"

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_transforms: int = 2,
        num_reflections: int = 4,
    ) -> None:
        layers = [flows.Sylvester(num_reflections)] * num_transforms
        super().__init__(encoder, latent_dim, layers)

    @staticmethod
    def num_outputs(latent_dim: int, num_transforms: int = 2, num_reflections: int = 4) -> int:
        return flows.num_outputs(latent_dim, [flows.Sylvester(num_reflections)] * num_transforms)
