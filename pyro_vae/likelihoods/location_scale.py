from abc import ABC

from torch import Tensor, nn

from ..base import Likelihood


class LocationScale(Likelihood, ABC):
    r"""Abstract likelihood of real numbers whose decoder may work in other units than the data.

    .. math:: x = a + b \, y \qquad p(x \mid z) = \frac{1}{b} \, p_y((x - a) / b \mid z)

    The density is that of :math:`x`, with the Jacobian :math:`1 / b`, and so are means and
    samples; networks see :math:`y` alone.

    Arguments:
        decoder: Maps :math:`z` to locations of :math:`y`.
        event_dim: The number of dimensions of one datum.
    """

    shift: Tensor | None
    unit: Tensor | None

    def __init__(self, decoder: nn.Module, event_dim: int = 1) -> None:
        super().__init__(decoder, event_dim)
        self.register_buffer("shift", None)
        self.register_buffer("unit", None)

    def standardize(self, shift: Tensor, unit: Tensor) -> None:
        r"""Sets :math:`a` and :math:`b`, both of shape `x_shape`."""
        self.shift, self.unit = shift.clone(), unit.clone()

    def in_units_of_x(self, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns location and scale of :math:`x` from those of :math:`y`."""
        if self.shift is None or self.unit is None:
            return loc, scale
        return self.shift + self.unit * loc, self.unit * scale
