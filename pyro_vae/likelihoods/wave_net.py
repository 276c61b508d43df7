import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .. import distributions
from ..counted import Size, counted
from ..nn import CausalCNN
from .discretized_logistic import DiscretizedLogistic


class WaveNet(DiscretizedLogistic):
    r"""Creates the likelihood :math:`\prod_t p(x_t \mid x_{<t}, z)` of levels in time, each a
    mixture of discretized logistics (:class:`DiscretizedLogistic`).

    Causal convolutions see the :math:`2^n + 1` elements before, for `n` layers. Their outputs are
    added to the decoder's, which their hidden units see, too. The density takes one pass of them,
    a sample a pass for each element. For the *mean* see
    :attr:`pyro_vae.distributions.Autoregressive.mean`.

    References:
        | WaveNet: A Generative Model for Raw Audio (van den Oord et al., 2016), Eq. 3
        | https://arxiv.org/abs/1609.03499
        | PixelCNN++ (Salimans et al., 2017), Eq. 2
        | https://arxiv.org/abs/1701.05517

    Arguments:
        decoder: Maps :math:`z` to locations, log scales and, if there are several components,
            their logits, joined, of shape `(*batch, k * T)`.
        num_levels: The number of levels, which are :math:`0 \ldots` `num_levels - 1`.
        num_components: The number of components of an element.
        channels: The channels of the hidden layers.
        num_layers: The number `n` of gated layers.
        event_dim: The number of dimensions of one datum, 1.

    Raises:
        ValueError: Data are no vectors.
    """

    formula = "p(x | z) = prod_t sum_m pi_m [bins of a logistic], parameters f_t(z) + h_t(x_<t, z)"
    advice = "for sound, sample by sample, as levels in time"
    independent = False

    @counted
    def __init__(
        self,
        decoder: nn.Module,
        num_levels: int = 256,
        num_components: int = 1,
        channels: Size = 32,
        num_layers: int = 8,
        event_dim: int = 1,
    ) -> None:
        super().__init__(decoder, num_levels, num_components, event_dim)
        if event_dim != 1:
            raise ValueError(
                f"Expected data of event_dim 1, samples in time; got {event_dim}. Use pixel-cnn "
                "for images."
            )
        size = self.num_outputs(num_components=num_components)
        self.waves = CausalCNN(1, size, size, channels, num_layers)

    def forward(self, z: Tensor) -> dist.Distribution:
        law = distributions.Autoregressive
        return law(self._outputs, self.outputs_of(z), 1, law=self.law_of)

    def _outputs(self, x: Tensor, context: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(x[..., None].shape, context.shape)
        seen = (2 * x / (self.num_levels - 1) - 1).expand(shape[:-1])
        given = context.expand(shape).flatten(0, -3) if len(shape) > 2 else context[None]
        y = self.waves(seen.reshape(-1, 1, shape[-2]), given.movedim(-1, -2))
        return context + y.movedim(1, -1).reshape(shape)
