r"""Decoders of images whose first latent features are the pose of what they draw."""

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from ..remembered import Remembers


def moved(images: Tensor, pose: Tensor, outside: str = "border") -> Tensor:
    r"""Returns images magnified and turned about their centre, then shifted, by bilinear
    interpolation. With :math:`p` a position relative to the centre, :math:`R` the rotation,
    :math:`t` the shift and :math:`m` the magnification,

    .. math:: \mathrm{moved}(p) = \mathrm{image}(R^{-1} (p - t) / m)

    References:
        | Spatial Transformer Networks (Jaderberg et al., 2015), Sec. 3.2 and 3.3
        | https://arxiv.org/abs/1506.02025

    Arguments:
        images: Of shape `(B, C, H, W)`.
        pose: The angle in radians, counterclockwise; the shift to the right and the shift
            downwards in pixels; and, if there is a fourth number, the logarithm of the
            magnification; of shape `(B, 3)` or `(B, 4)`.
        outside: What lies around an image: ``"border"``, its nearest pixel, or ``"zeros"``.

    Example:
        >>> image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 1, 2, 2)
        >>> moved(image, torch.tensor([[torch.pi / 2, 0.0, 0.0]])).round()[0, 0]
        tensor([[2., 4.],
                [1., 3.]])
    """
    height, width = images.shape[-2:]
    dtype, device = images.dtype, images.device
    down = torch.arange(height, dtype=dtype, device=device)[:, None] - (height - 1) / 2
    right = torch.arange(width, dtype=dtype, device=device) - (width - 1) / 2
    angle, *shift = pose[:, :3, None, None].unbind(1)
    right, down = right - shift[0], down - shift[1]
    cos, sin = angle.cos(), angle.sin()
    if pose.shape[-1] > 3:
        shrink = (-pose[:, 3, None, None]).exp()
        cos, sin = cos * shrink, sin * shrink
    source_right, source_down = cos * right - sin * down, sin * right + cos * down
    grid = torch.stack([source_right * (2 / width), source_down * (2 / height)], -1)
    return grid_sample(images, grid, padding_mode=outside, align_corners=False)


class Posed(Remembers, nn.Module):
    r"""Creates a decoder whose first latent features are the pose of what another one draws: its
    angle, its shift, and, if it can be magnified, the logarithm of that. The others, its content,
    are what the inner decoder sees (:func:`moved` has the formula).

    The pose is a latent variable as any other, with a prior that says how far things are turned
    and moved: ``pv.priors.Normal(3 + content, scale=[0.5, 2.0, 2.0, *[1.0] * content])``.

    References:
        | Explicitly disentangling image content from translation and rotation with spatial-VAE
        | (Bepler et al., 2019), where coordinates are turned before the decoder
        | https://arxiv.org/abs/1909.11663

    Arguments:
        net: The inner decoder, from `L` features to images of shape `(C, H, W)`. Several numbers
            per pixel are moved together; what lies outside is the nearest pixel.
        magnified: Whether there is a fourth number, the logarithm of the magnification.

    Raises:
        ValueError: There are no features besides the pose, or the net draws no images.

    Example:
        >>> from pyro_vae.nn import MLP
        >>> posed = Posed(MLP(5, [16], (1, 8, 8)))
        >>> z = torch.randn(7, 3 + 5)
        >>> z[:, :3] = 0.0
        >>> bool(posed(z).allclose(posed.net(z[:, 3:]), atol=1e-5))
        True
    """

    def __init__(self, net: nn.Module, magnified: bool = False) -> None:
        super().__init__()
        self.net, self.magnified = net, magnified

    @property
    def num_features(self) -> int:
        r"""The number of features of the pose."""
        return 4 if self.magnified else 3

    @property
    def output_bias(self) -> Tensor | None:
        r"""Where the outputs start without a pose, if the inner decoder says so."""
        return getattr(self.net, "output_bias", None)

    @property
    def out_shape(self) -> tuple[int, ...] | None:
        r"""The shape of one output, if the inner decoder says so."""
        return getattr(self.net, "out_shape", None)

    def forward(self, z: Tensor) -> Tensor:
        r"""
        Arguments:
            z: Pose and content, joined, of shape `(*batch, num_features + L)`.

        Returns:
            Images of shape `(*batch, C, H, W)`.
        """
        count = self.num_features
        if z.shape[-1] <= count:
            raise ValueError(
                f"Expected more than the {count} latent features of the pose; got {z.shape[-1]}."
            )
        images = self.net(z[..., count:])
        if images.dim() != z.dim() + 2:
            raise ValueError(
                "Expected a decoder of images, of shape (C, H, W), to turn and shift; got outputs "
                f"of shape {tuple(images.shape[z.dim() - 1 :])}."
            )
        shape = images.shape[-3:]
        poses = z[..., :count].reshape(-1, count)
        return moved(images.reshape(-1, *shape), poses).reshape(images.shape)
