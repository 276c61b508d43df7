from collections.abc import Callable, Sequence
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor, nn

from .. import distributions
from ..base import Posterior
from ..counted import counted
from ..distributions import scale_of
from ..flows import Layer, num_outputs, shared_context


class Flow(Posterior):
    r"""Creates :math:`q(z \mid x)`: a Normal through any sequence of layers.

    .. math:: z = f_T \circ \cdots \circ f_1 (\mu(x) + \sigma(x) \epsilon), \quad
        \log q(z \mid x) = \log \mathcal{N}(z_0; \mu, \mathrm{diag}\,\sigma^2)
        - \sum_t \log |\det \partial f_t|

    References:
        | Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015), Eq. 6
        | https://arxiv.org/abs/1505.05770

    Arguments:
        encoder: Maps :math:`x` to :math:`\mu`, :math:`\log \sigma`, the parameters of each layer
            and the context that layers share, of shape `(*batch, num_outputs)`.
        latent_dim: The number of latent features.
        layers: The layers of :mod:`pyro_vae.flows`, the first one nearest to the Normal.

    Raises:
        ValueError: Layers want contexts of different sizes, or the encoder returns another number
            of outputs.

    Example:
        >>> import torch
        >>> import pyro_vae as pv
        >>> layers = [pv.flows.Planar(), pv.flows.Householder(), pv.flows.Autoregressive(4)]
        >>> encoder = pv.nn.MLP(5, [16], Flow.num_outputs(4, layers))
        >>> Flow(encoder, 4, layers)(torch.zeros(3, 5)).sample().shape
        torch.Size([3, 4])
    """

    formula = "q(z | x): a Normal through any sequence of layers"
    advice = "to combine layers; the named flows are sequences of one kind"

    num_outputs: ClassVar[Callable[..., int]] = staticmethod(num_outputs)

    @counted
    def __init__(self, encoder: nn.Module, latent_dim: int, layers: Sequence[Layer]) -> None:
        super().__init__(encoder)
        if not all(isinstance(layer, Layer) for layer in layers):
            raise ValueError(f"Expected layers of pyro_vae.flows; got {layers!r}.")
        self.latent_dim, self.layers = latent_dim, [*layers]
        self.context_features = shared_context(layers)
        self.nets = nn.ModuleList(layer.net for layer in layers if layer.net is not None)
        self.passes = latent_dim if any(layer.sequential for layer in layers) else 1

    def forward(self, x: Tensor) -> dist.Distribution:
        return self.law(self.encoder(x))

    def law(self, outputs: Tensor) -> dist.Distribution:
        r"""Returns the distribution with these outputs of the encoder."""
        sizes = [size for layer in self.layers for size in layer.sizes(self.latent_dim)]
        sizes = [self.latent_dim, self.latent_dim, *sizes, self.context_features]
        if outputs.shape[-1] != sum(sizes):
            raise ValueError(
                f"Expected {sum(sizes)} outputs of the encoder, 2 for each of {self.latent_dim} "
                f"latent features and what the layers need; got {outputs.shape[-1]}. Use "
                f"{type(self).__name__}.num_outputs."
            )
        loc, log_scale, *rest = outputs.split(sizes, dim=-1)
        context = rest.pop() if self.context_features else None
        bijections = []
        for layer in self.layers:
            count = len(layer.sizes(self.latent_dim))
            bijections.append(layer.bijection(rest[:count], context))
            rest = rest[count:]
        normal = dist.Normal(loc, scale_of(log_scale)).to_event(1)
        return distributions.Flow(normal, bijections)
