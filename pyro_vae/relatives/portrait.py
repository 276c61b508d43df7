r"""What each member of the gallery can do, by calling it, and how well, with errors."""

import time
from collections.abc import Iterable, Iterator, Sequence
from math import hypot
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data import Split
from ..evaluate import evaluate_relative
from ..evaluate.classes import Judge, judge_of
from ..evaluate.two_sample import TwoSample, compare_samples
from ..gallery import Relative
from ..programs import undisturbed
from ..statistics import Mean
from .members import MEMBERS, data_of, train

SAMPLES = 500


class Portrait(NamedTuple):
    r"""A trained member.

    Attributes:
        name: Its name.
        model: The model.
        can: What it has: ``"yes"``, the kind of its density, or why not.
        log_prob: The mean of :math:`\log p(x)` over test data as bits, in nats per datum; None if
            it has none, or one of real numbers, which cannot be compared.
        squared_error: The mean squared error of a reconstruction, per element; None without one.
        samples: Its samples as bits, of shape `(500, *x_shape)`; None without a sampler.
        likeness: How these compare with data.
        num_parameters: The number of its parameters.
        seconds: The CPU seconds of its training.
        num_seeds: How many seeds it was trained with. Figures are then means over them
            (:meth:`pyro_vae.statistics.Mean.over`), a p-value is the least times their number;
            model and samples are those of the first.
    """

    name: str
    model: Relative
    can: dict[str, str]
    log_prob: Mean | None
    squared_error: Mean | None
    samples: Tensor | None
    likeness: TwoSample | None
    num_parameters: int
    seconds: float
    num_seeds: int = 1

    def record(self) -> dict[str, Any]:
        r"""Returns the figures as JSON has them."""
        found: dict[str, Any] = {"name": self.name, "can": self.can}
        found |= {"num_parameters": self.num_parameters, "cpu_seconds": round(self.seconds, 1)}
        found |= {"num_seeds": self.num_seeds}
        for key in ("log_prob", "squared_error"):
            mean = getattr(self, key)
            found |= mean.record(key) if mean is not None else {}
        return found | (self.likeness.record() if self.likeness else {})


class Floor(NamedTuple):
    r"""What all members are compared with.

    Attributes:
        data: The name of the data.
        rows: Data that no member has seen, as bits.
        train: The training data, as bits.
        judge: A classifier of these, whose features tell how far samples and data are apart.
    """

    data: str
    rows: Split
    train: Split
    judge: Judge | None

    @classmethod
    def of(cls, data: str, data_dir: Any = None, seed: int = 0) -> "Floor":
        r"""Loads data; all that are not for training are held out."""
        dataset = data_of(data, False, data_dir)
        held = [split.freeze(seed) for n, split in dataset.splits.items() if n != "train"]
        bits = torch.cat([split.rows(slice(None)) for split in held]).to(torch.uint8)
        rows = Split(bits, levels=1, source="held-out data")
        train_rows = dataset.train.freeze(seed)
        labelled = train_rows.labels is not None
        return cls(data, rows, train_rows, judge_of(train_rows, seed=seed) if labelled else None)


def portraits(
    floor: Floor,
    names: Iterable[str] = (*MEMBERS,),
    *,
    epochs: int = 100,
    seed: int = 0,
    num_seeds: int = 1,
    data_dir: Any = None,
) -> Iterator[Portrait]:
    r"""Trains members of the gallery and measures them, one after the other.

    Arguments:
        floor: The data.
        names: The members.
        epochs: The epochs of training; some members take three times as many.
        seed: Seeds everything.
        num_seeds: How many trainings each has, whose seeds are this one and the next; they are
            measured with the same draws.
        data_dir: Where to look for the data first.
    """
    for name in names:
        member = MEMBERS[name]
        dataset = data_of(floor.data, member.pixels, data_dir)
        found = []
        for one in range(seed, seed + num_seeds):
            start = time.process_time()
            model = train(member, dataset, epochs, one)
            seconds = time.process_time() - start
            found.append(portrait(name, model, floor, seconds, member.pixels, seed))
        yield pooled(found)


def pooled(each: Sequence[Portrait]) -> Portrait:
    r"""Returns one portrait of trainings that differ in their seed, as :class:`Portrait` says."""
    first, count = each[0], len(each)
    if count == 1:
        return first
    found: dict[str, Any] = {"seconds": fmean(one.seconds for one in each), "num_seeds": count}
    for name in ("log_prob", "squared_error"):
        if getattr(first, name) is not None:
            found[name] = Mean.over([getattr(one, name) for one in each])
    if first.likeness is not None:
        likenesses = [one.likeness for one in each if one.likeness is not None]
        masses, four = (
            _over_seeds([getattr(one, part) for one in likenesses])
            for part in ("masses", "fidelity")
        )
        found["likeness"] = first.likeness._replace(masses=masses, fidelity=four, copying=None)
    return first._replace(**found)


def _over_seeds(parts: Sequence[Any]) -> Any:
    r"""A part of a comparison over seeds: means, and the least p-value times their number."""
    columns = {name: [getattr(part, name) for part in parts] for name in parts[0]._fields}
    return parts[0]._replace(
        **{
            name: Mean.over(values)
            if isinstance(values[0], Mean)
            else min(1.0, len(values) * min(values))
            for name, values in columns.items()
        }
    )


def portrait(
    name: str, model: Relative, floor: Floor, seconds: float, pixels: bool, seed: int
) -> Portrait:
    r"""Measures a trained member; what it draws of pixels are the probabilities of bits."""
    found = evaluate_relative(model, floor.rows, seed=seed)
    samples, likeness = None, None
    if found["can"]["sample"] == "yes":
        with undisturbed(model, seed):
            samples = model.sample(SAMPLES)
            samples = torch.bernoulli(samples.clamp(0, 1)) if pixels else samples
        likeness = compare_samples(
            samples, floor.rows, train=floor.train, features=floor.judge, seed=seed
        )
    own = None if pixels else _mean(found, "log_prob", found.get("log_prob_mc_se", 0.0))
    count = sum(p.numel() for p in model.parameters())
    error = _mean(found, "squared_error")
    return Portrait(name, model, found["can"], own, error, samples, likeness, count, seconds)


def _mean(found: dict[str, Any], name: str, shared: float = 0.0) -> Mean | None:
    return Mean(found[name], hypot(found[f"{name}_se"], shared)) if name in found else None
