r"""Scales from their logarithms, bounded where single precision ends."""

from torch import Tensor

LOWEST, HIGHEST = -24.0, 40.0


def bounded(log_scale: Tensor) -> Tensor:
    r"""Keeps :math:`\log \sigma` within [-24, 40].

    A scale of :math:`4 \cdot 10^{-11}` or :math:`2 \cdot 10^{17}` has a density and a gradient
    that single precision holds; beyond, constant data or an encoder gone astray would make them
    NaN.
    """
    return log_scale.clamp(LOWEST, HIGHEST)


def halves(outputs: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    r"""Returns the outputs of a network for two parameters, one after the other in `dim`.

    Raises:
        ValueError: Their number is odd.
    """
    if outputs.dim() == 0 or outputs.shape[dim] % 2:
        raise ValueError(
            f"Expected an even number of outputs, for two parameters, in dimension {dim}; got "
            f"shape {tuple(outputs.shape)}. Use a network with two outputs per element."
        )
    first, second = outputs.chunk(2, dim=dim)
    return first, second


def scale_of(log_scale: Tensor) -> Tensor:
    r"""Returns :math:`\sigma` of :func:`bounded` :math:`\log \sigma`."""
    return bounded(log_scale).exp()


def logit_of(mean: Tensor) -> Tensor:
    r"""The logits of probabilities, kept inside [0.001, 0.999]: those of data may be 0 or 1."""
    return mean.clamp(1e-3, 1 - 1e-3).logit()


def log_of(mean: Tensor) -> Tensor:
    r"""The logarithms of means, kept above 0.001."""
    return mean.clamp(min=1e-3).log()
