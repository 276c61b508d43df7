from collections.abc import Sequence

from torch import nn

from .. import flows
from ..counted import Size, counted
from ..transforms import Spline
from .flow import Flow


class NeuralSpline(Flow):
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
        context_features: Size = 32,
    ) -> None:
        spline = Spline(num_bins)
        layers = [
            flows.Autoregressive(
                latent_dim, hidden_features, context_features, spline, reverse=i % 2 == 1
            )
            for i in range(num_transforms)
        ]
        super().__init__(encoder, latent_dim, layers)

    @staticmethod
    def num_outputs(latent_dim: int, context_features: int = 32) -> int:
        return flows.num_outputs(latent_dim) + context_features
