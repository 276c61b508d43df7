import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .. import transforms
from ..base import Posterior
from ..counted import counted
from ..distributions import Flow, scale_of


class Sylvester(Posterior):
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
        super().__init__(encoder)
        half = latent_dim * (latent_dim + 1) // 2
        parts = [num_reflections * latent_dim, half, half, latent_dim]
        self.sizes = [latent_dim, latent_dim] + parts * num_transforms
        self.rows: Tensor
        self.register_buffer("rows", torch.triu_indices(latent_dim, latent_dim), persistent=False)

    @staticmethod
    def num_outputs(latent_dim: int, num_transforms: int = 2, num_reflections: int = 4) -> int:
        return 2 * latent_dim + num_transforms * latent_dim * (num_reflections + latent_dim + 2)

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale, *rest = self.encoder(x).split(self.sizes, dim=-1)
        steps = []
        for i in range(0, len(rest), 4):
            v = rest[i].unflatten(-1, (-1, loc.shape[-1]))
            outer, inner = self.triangle(rest[i + 1]), self.triangle(rest[i + 2])
            steps.append(transforms.Sylvester(v, outer, inner, rest[i + 3]))
        normal = dist.Normal(loc, scale_of(log_scale)).to_event(1)
        return Flow(normal, steps)

    def triangle(self, entries: Tensor) -> Tensor:
        size = self.sizes[0]
        full = entries.new_zeros(*entries.shape[:-1], size, size)
        full[..., self.rows[0], self.rows[1]] = entries
        diagonal = full.diagonal(dim1=-2, dim2=-1).tanh() * 0.999
        return full.triu(1) + diagonal.diag_embed()
