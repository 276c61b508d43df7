r"""How much are samples like data? For samples of any model, or of nobody knows what."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..counted import counted
from ..data import Split, as_split
from ..randomness import stream
from ..statistics import Mean
from .classes import Judge, judge_of
from .neighbours import Copying, Fidelity, copying, fidelity, vectors
from .pqmass import PQMass, pqmass

FEWEST = 20


class TwoSample(NamedTuple):
    r"""Samples beside data, and data beside other data as the floor of each number.

    Attributes:
        num_samples: How many samples were used.
        num_data: How many data.
        masses: The test of one law, of samples and data.
        masses_floor: The same of one half of the data and the other.
        fidelity: Precision, recall, density and coverage of samples, of one half of the data.
        fidelity_floor: Those of as many other data, of the same half: what perfect samples have.
        features: In which features these distances are.
        copying: How close samples are to training data, where these are known; the floor is
            within.
        accuracy: The share of these data whose class the classifier of the features finds.
    """

    num_samples: int
    num_data: int
    masses: PQMass
    masses_floor: PQMass
    fidelity: Fidelity
    fidelity_floor: Fidelity
    features: str
    copying: Copying | None = None
    accuracy: Mean | None = None

    def record(self) -> dict[str, Any]:
        r"""Returns the numbers as JSON has them."""
        found: dict[str, Any] = {
            "samples_num_samples": self.num_samples,
            "samples_num_data": self.num_data,
            "samples_features": self.features,
        }
        if self.accuracy is not None:
            found |= self.accuracy.record("samples_classifier_accuracy")
        for masses, name in ((self.masses, ""), (self.masses_floor, "_floor")):
            found |= masses.chi2.record(f"pqmass{name}")
            found[f"pqmass{name}_p_value"] = masses.p_value
        found |= self.masses.by_chance.record("pqmass_by_chance")
        for four, name in ((self.fidelity, ""), (self.fidelity_floor, "_floor")):
            for key, mean in four._asdict().items():
                found |= mean.record(f"{key}{name}")
        for key, value in self.copying._asdict().items() if self.copying else ():
            named = f"copying_{key}"
            found |= value.record(named) if isinstance(value, Mean) else {named: value}
        return found

    def __str__(self) -> str:
        sure = "" if self.accuracy is None else f", right for {self.accuracy:.1%} of these data"
        lines = [
            f"{self.num_samples} samples and {self.num_data} data; floors are of data and other "
            "data.",
            f"  distances of the first four in {self.features}{sure}",
            f"  {'':12s}{'samples':24s}floor",
        ]
        for name, mean in self.fidelity._asdict().items():
            floor = getattr(self.fidelity_floor, name)
            lines.append(f"  {name:12s}{mean:.3f} {mean.error:16s}  {floor:.3f} {floor.error}")
        lines.append(f"  {'PQMass':12s}{_masses(self.masses):24s}{_masses(self.masses_floor)}")
        if (c := self.copying) is not None:
            for name, own, floor in (
                ("to train", c.samples, c.test),
                ("copies", c.copies, c.test_copies),
            ):
                lines.append(f"  {name:12s}{own:.3f} {own.error:16s}  {floor:.3f} {floor.error}")
            lines.append(
                f"  A sample is closer to the training data than a test datum in {c.nearer:.3f} "
                f"{c.nearer.error} of pairs\n  (p = {c.p_value:.2g} of 1/2 or less, which is that "
                "of no copying)."
            )
        return "\n".join(lines)


def _masses(found: PQMass) -> str:
    return f"{found.chi2:.3f} (p = {found.p_value:.3f})"


@counted
def compare_samples(
    samples: Any,
    data: Any,
    *,
    train: Any = None,
    features: Judge | Callable[[Tensor], Tensor] | None = None,
    num_neighbours: int = 5,
    num_rows: int = 2000,
    seed: int = 0,
) -> TwoSample:
    r"""Compares samples with data: one law, precision and recall, copies of training data.

    The samples may come from anywhere: nothing is asked of a model. The data are split into
    halves by chance. What is measured of samples and one half is also measured of the other half
    and that one, which is the floor.

    Arguments:
        samples: Independent draws, of shape `(M, *x_shape)`: a tensor, an array or a split.
        data: Data that no model has seen, of shape `(N, *x_shape)`, in the same units.
        train: The training data, for :func:`copying`. If they have classes as labels, features
            are those of a classifier trained on them (:func:`judge_of`).
        features: A classifier of :func:`judge_of`, to be used again, or a function of data that
            returns features of shape `(B, dim)`; by default the data themselves.
        num_neighbours: The number of neighbours of :func:`fidelity`.
        num_rows: How many samples, and how many data in each half, are used at most. Costs grow
            with its square.
        seed: Seeds halves, regions, permutations and the classifier.

    Raises:
        ValueError: There are fewer than 20 samples or 40 data, they have different shapes, or
            some numbers are missing or infinite.

    Example:
        >>> import torch
        >>> import pyro_vae as pv
        >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
        >>> pv.evaluate.compare_samples(x[:200] + 2, x[200:]).masses.p_value
        0.001
    """
    drawn, tested = as_split(samples, "samples"), as_split(data, "data")
    fitted = None if train is None else as_split(train, "train")
    if drawn.x_shape != tested.x_shape or (fitted and fitted.x_shape != tested.x_shape):
        shapes = [list(s.x_shape) for s in (drawn, tested, fitted) if s is not None]
        raise ValueError(f"Expected samples and data of one shape; got {shapes}.")
    s = _shuffled(drawn, num_rows, stream(seed, "samples"))
    x = _shuffled(tested, 2 * num_rows, stream(seed, "halves"))
    if len(s) < FEWEST or len(x) < 2 * FEWEST:
        raise ValueError(
            f"Expected at least {FEWEST} samples and {2 * FEWEST} data, half of which are the "
            f"floor; got {len(s)} and {len(x)}."
        )
    if features is None and fitted is not None and _classes(fitted):
        features = judge_of(fitted, seed=seed)
    size = min(len(s), len(x) // 2)
    half, other = x[:size], x[size : 2 * size]
    seen = [_features(features, rows) for rows in (s[:size], half, other)]
    judge = features if isinstance(features, Judge) else None
    return TwoSample(
        len(s),
        len(x),
        pqmass(s, x, seed=seed),
        pqmass(other, half, seed=seed),
        fidelity(seen[0], seen[1], num_neighbours),
        fidelity(seen[2], seen[1], num_neighbours),
        _called(features),
        None if fitted is None else copying(s, x, _finite(fitted.freeze(seed))),
        judge.accuracy(tested.freeze(seed)) if judge and _classes(tested) else None,
    )


def _finite(split: Split) -> Tensor:
    x = torch.cat([part.cpu() for part in split.chunks()])
    vectors(**{split.source: x})
    return x


def _shuffled(split: Split, most: int, seed: int) -> Tensor:
    r"""Rows of a split in random order."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    return _finite(split.take(order[:most]).freeze(seed))


def _classes(split: Split) -> bool:
    r"""Whether labels are two classes or more."""
    labels = split.labels
    if labels is None or labels.is_floating_point():
        return False
    return len(labels[labels >= 0].unique()) > 1


def _features(features: Any, x: Tensor) -> Tensor:
    if features is None:
        return x
    with torch.no_grad():
        found = (features.features if isinstance(features, Judge) else features)(x)
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(x):
        shape = f"shape {[*found.shape]}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"Expected features of shape ({len(x)}, dim), a tensor, of {len(x)} data; got {shape}."
        )
    return found


def _called(features: Any) -> str:
    if features is None:
        return "the data themselves"
    if isinstance(features, Judge):
        return f"features of {features.name}"
    return "given features"
