from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from ..base import Posterior
from ..counted import counted
from ..distributions import Flow, scale_of
from ..nn import MADE
from ..transforms import Autoregressive, Spline


class NeuralSpline(Posterior):
    r"""Creates :math:`q(z \mid x)`: a Normal through autoregressive rational-quadratic splines.

    Like :class:`IAF`, with a monotone spline where that has an affine map, so that one feature
    alone can have several modes.

    References:
        | Neural Spline Flows (Durkan et al., 2019)
        | https://arxiv.org/abs/1906.04032

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma` and a context, of shape
            `(*batch, 2 * latent_dim + context_features)`.
        latent_dim: The number of latent features.
        num_transforms: The number of transforms, whose order alternates.
        num_bins: The number of pieces of a spline.
        hidden_features: The hidden layers of each network.
        context_features: The size of the context.
    """

    formula = "q(z | x): a Normal through autoregressive monotone splines"
    advice = "several modes in few features; slower than iaf"

    @counted
    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        num_transforms: int = 1,
        num_bins: int = 8,
        hidden_features: Sequence[int] = (100,),
        context_features: int = 32,
    ) -> None:
        super().__init__(encoder)
        self.passes = latent_dim
        self.sizes = [latent_dim, latent_dim, context_features]
        self.spline = Spline(num_bins)
        self.nets = nn.ModuleList(
            MADE(latent_dim, hidden_features, self.spline.outputs, context_features, i % 2 == 1)
            for i in range(num_transforms)
        )

    @staticmethod
    def num_outputs(latent_dim: int, context_features: int = 32) -> int:
        return 2 * latent_dim + context_features

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, log_scale, context = self.encoder(x).split(self.sizes, dim=-1)
        transforms = [Autoregressive(net, self.spline, context) for net in self.nets]
        return Flow(dist.Normal(loc, scale_of(log_scale)).to_event(1), transforms)
