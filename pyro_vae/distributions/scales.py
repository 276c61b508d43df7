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


def shares(outputs: Tensor, parts: int, dim: int) -> tuple[Tensor, ...]:
    r"""Returns the outputs of a network for several parameters, one after the other in `dim`.

    Raises:
        ValueError: Their number is no multiple of `parts`.
    """
    if outputs.dim() == 0 or outputs.shape[dim] % parts:
        number = "an even number" if parts == 2 else f"a multiple of {parts}"
        raise ValueError(
            f"Expected {number} of outputs, for {parts} parameters, in dimension {dim}; got shape "
            f"{tuple(outputs.shape)}. Use a network with {parts} outputs per element."
        )
    return outputs.chunk(parts, dim)


def halves(outputs: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    r"""Returns the outputs of a network for two parameters (:func:`shares`)."""
    first, second = shares(outputs, 2, dim)
    return first, second


def scale_of(log_scale: Tensor) -> Tensor:
    r"""Returns :math:`\sigma` of :func:`bounded` :math:`\log \sigma`."""
    return bounded(log_scale).exp()


def logit_of(mean: Tensor) -> Tensor:
    r"""The logits of probabilities, kept inside [0.001, 0.999]: those of data may be 0 or 1."""
    return mean.clamp(1e-3, 1 - 1e-3).logit()


def log_of(mean: Tensor, lowest: float = 1e-3) -> Tensor:
    r"""The logarithms of means, kept above `lowest`: those of counts may be 0."""
    return mean.clamp(min=lowest).log()
