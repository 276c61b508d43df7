r"""Which model is better? Paired differences over the same data."""

from collections.abc import Mapping
from math import inf, log, prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..deprecation import renamed_attributes
from ..statistics import Mean

MEASURES = ("discrete", "x_shape", "levels", "range", "binarize", "seed")


@renamed_attributes(se="difference.se")
class Comparison(NamedTuple):
    r"""How much more likely B makes the data than A.

    Attributes:
        difference: The mean of :math:`\log p_B(x) - \log p_A(x)`, in nats per datum; pairing
            makes its standard error over data small.
        p_value: Of no difference, two-sided, by Student's t with one degree of freedom less than
            there are data.
        num_data: The number of data.
        bits_per_dim: The difference in bits per dimension, for discrete data.
    """

    difference: Mean
    p_value: float
    num_data: int
    bits_per_dim: float | None = None

    def record(self) -> dict[str, Any]:
        r"""Returns the result as JSON values."""
        return {**self._asdict(), "difference": float(self.difference), "se": self.difference.se}

    def sentence(self, a: str = "A", b: str = "B") -> str:
        r"""Says who beats whom by how much, in nats and, for discrete data, in bits."""
        if self.p_value > 0.01:
            return (
                f"No difference is seen between {a} and {b}: {self.difference:+.3f} "
                f"{self.difference.error} nats per datum on {self.num_data} data."
            )
        better, worse = (b, a) if self.difference > 0 else (a, b)
        return (
            f"{better} beats {worse} by {abs(self.difference):.3f} {self.difference.error} nats "
            f"per datum on {self.num_data} data."
        )


def compare(a: Tensor, b: Tensor, data: Mapping[str, Any] | None = None) -> Comparison:
    r"""Compares two models datum by datum.

    Arguments:
        a: :math:`\log p_A(x)` of each datum in nats, of shape `(B,)`, by any estimator.
        b: :math:`\log p_B(x)` of the same data in the same order. Whether the two may be compared
            at all is checked by :func:`check_comparable`.
        data: The record of the data, as in ``data.json``, with ``discrete``: bits per dimension
            mean something where `x` is; and, where some are missing, with ``elements``: how many
            elements a datum has on average.

    Raises:
        ValueError: The numbers are not about as many data, or some of them are not finite.
    """
    if a.shape != b.shape or a.dim() != 1 or len(a) < 2:
        raise ValueError(
            "Expected log p(x) of the same two or more data from both models; got shapes "
            f"{list(a.shape)} and {list(b.shape)}."
        )
    for name, values in (("A", a), ("B", b)):
        wrong = (~torch.isfinite(values)).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"Expected finite numbers; got {float(values[wrong[0]])} of {name} for datum "
                f"{wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}. Look at these "
                "data first: a model that cannot make them has log p(x) = -inf."
            )
    mean = Mean.of((b - a).double())
    t = abs(mean) / mean.se if mean.se else (0.0 if mean == 0 else inf)
    bits = None
    if data is not None and data.get("discrete"):
        bits = mean / (data.get("elements", prod(data["x_shape"])) * log(2))
    return Comparison(mean, _two_sided(t, len(a) - 1), len(a), bits)


def _two_sided(t: float, freedom: float) -> float:
    r"""Returns how often Student's t is as far from zero, or farther."""
    from scipy.special import stdtr

    return 2 * float(stdtr(freedom, -t))


def check_comparable(a: Mapping[str, Any], b: Mapping[str, Any], split: str = "test") -> None:
    r"""Refuses to compare densities of different data, or with respect to different measures.

    Grey levels in 0..255 and in 0..1 differ by :math:`D \log 255` nats, bits and grey pixels are
    not comparable at all, and neither are probabilities of levels and densities of real numbers.

    Arguments:
        a: The record of the data of A, as in ``data.json``, with ``discrete``: whether its
            likelihood is a probability of levels; without it, where there is no density.
        b: That of B.
        split: Which rows the numbers are about.

    Raises:
        ValueError: The numbers are not about the same data, or not with respect to one measure.
    """
    names = [n for n in MEASURES if n != "discrete" or (n in a and n in b)]
    differing = [name for name in names if a.get(name) != b.get(name)]
    if differing and not (differing == ["seed"] and a.get("binarize") == "no"):
        shown = ", ".join(f"{n} {a.get(n)} against {b.get(n)}" for n in differing)
        raise ValueError(
            f"Expected densities with respect to one measure; got {shown}. Such numbers differ by "
            "more than the models; train both on the same data, scaled and binarized equally."
        )
    hashes = [record.get("sha256", {}).get(split) for record in (a, b)]
    if hashes[0] != hashes[1]:
        raise ValueError(
            f"Expected the same {split} data; got other rows ({a.get('name')} against "
            f"{b.get('name')}). Evaluate both on one file."
        )
