from abc import ABC
from typing import Any

from torch import Tensor, nn

from ..base import Likelihood


class Wrapper(Likelihood, ABC):
    r"""Abstract likelihood that is made of another one, which holds the decoder.

    Attributes:
        outputs_per_element: How many numbers the decoder returns for each element of :math:`x`
            besides those of the other likelihood.

    Arguments:
        family: The other likelihood, of whole data.

    Raises:
        ValueError: It is one of data with holes, or its elements depend on each other.
    """

    outputs_per_element = 0

    def __init__(self, family: Likelihood) -> None:
        nn.Module.__init__(self)  # the family holds the decoder
        if family.missing:
            raise ValueError(
                f"Expected a likelihood of whole data inside of {type(self).__name__}; got "
                f"{type(family).__name__}, which allows for holes. MissingAtRandom goes around "
                "the others, and Product needs none."
            )
        check_independent(family, type(self).__name__)
        self.family, self.event_dim = family, family.event_dim
        self.support = family.support

    @property
    def decoder(self) -> nn.Module:  # type: ignore[override]
        return self.family.decoder

    @classmethod
    def num_outputs(cls, family: int = 1, **others: Any) -> int:
        r"""How many numbers the decoder returns for each element of `x`.

        Arguments:
            family: Those of the other likelihood.
            others: Options of the constructor.
        """
        return family + cls.outputs_per_element

    def outputs_at(self, mean: Tensor) -> Tensor | None:
        return self.family.outputs_at(mean)


def check_independent(family: Likelihood, where: str) -> None:
    r"""Refuses a likelihood whose elements depend on each other, where some may be left out."""
    if not family.independent:
        raise ValueError(
            f"Expected a likelihood of independent elements inside of {where}; got "
            f"{type(family).__name__}, whose elements depend on each other."
        )
