r"""Holes that are made on purpose: elements hidden from the model, at random or by region."""

from dataclasses import replace

from torch import Tensor

from ..randomness import stream
from .dataset import Dataset
from .regions import HALVES, QUADRANTS, region
from .split import Split, draw_holes


def with_holes(dataset: Dataset) -> Dataset:
    r"""Hides elements of every split, as its kind declares: once, by its seed, or those of
    training data anew at every visit. What is hidden does not depend on any value (MCAR)."""
    rule = dataset.config.hidden
    if rule is None:
        return dataset
    seed, visits = dataset.config.seed, rule.when == "visit"
    splits = {}
    for name, split in dataset.splits.items():
        if visits and name == "train":
            splits[name] = replace(split, hole_rate=rule.rate)
        else:
            holes = draw_holes(split, rule.rate, stream(seed, name))
            splits[name] = split.hiding(holes.to(split.device))
    when = "anew at every visit of training, and " if visits else ""
    elsewhere = ", in validation and test data" if visits else ""
    said = f"{rule.rate:.0%} of the elements of x are hidden, {when}once, by data.seed{elsewhere}"
    return replace(dataset, splits=splits, notes="\n".join([*dataset.notes.splitlines(), said]))


def hidden_by(split: Split, words: str, seed: int) -> Tensor:
    r"""Returns which elements a rule hides, of shape `(N, *x_shape)`.

    Arguments:
        split: The data.
        words: A region of images, such as `bottom` or `top-left`, or `random:0.5`.
        seed: Seeds what is random.

    Raises:
        ValueError: There is no such rule, or the data are no images.
    """
    kind, _, share = words.partition(":")
    if kind == "random":
        try:
            rate = float(share)
        except ValueError:
            rate = 0.0
        if not 0 < rate < 1:
            raise ValueError(
                f"Expected a share between 0 and 1 of elements to hide, as in random:0.5; got "
                f"{words!r}."
            )
        return draw_holes(split, rate, seed)
    if words not in (*HALVES, *QUADRANTS):
        raise ValueError(
            f"Expected holes as random:0.5 or a region of images "
            f"({', '.join((*HALVES, *QUADRANTS))}); got {words!r}."
        )
    if len(split.x_shape) != 3:
        raise ValueError(
            f"Expected images, of which {words} is a region; got x of shape {split.x_shape}. Take "
            "random:0.5."
        )
    return region([words], *split.x_shape[1:]).expand(len(split), *split.x_shape).clone()
