r"""How good is q(y | x) as a classifier, and does the model draw the class asked for?"""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..counted import counted
from ..data import Split
from ..statistics import Mean
from ..views import sample

BINS = 10
RESAMPLES = 500
ROWS = 10_000  # of training data for the classifier that judges samples
VISITS = 200_000  # of rows, while it is trained


class Classification(NamedTuple):
    r"""How good probabilities of classes are.

    Attributes:
        accuracy: The share of data whose most probable class is right.
        error: The expected calibration error :math:`\sum_b \frac{n_b}{n} |a_b - c_b|` over bins
            of the probability of that class, with :math:`a_b` the share that is right and
            :math:`c_b` the mean probability; its standard error is by the bootstrap.
        chance: The calibration error that probabilities would show on as many data if they were
            right: it is never zero.
        confidence: The mean probability of each bin, of shape `(bins,)`; NaN in empty ones.
        frequency: The share that is right, of shape `(bins,)`.
        frequency_se: Its standard error, of shape `(bins,)`.
        size: The number of data in each bin.
    """

    accuracy: Mean
    error: Mean
    chance: float
    confidence: Tensor
    frequency: Tensor
    frequency_se: Tensor
    size: Tensor

    def record(self, site: str) -> dict[str, float]:
        r"""Returns the numbers as JSON has them, under the name of the site."""
        return {
            **self.accuracy.record(f"accuracy_{site}"),
            **self.error.record(f"calibration_error_{site}"),
            f"calibration_error_{site}_by_chance": self.chance,
        }


@counted
def classification(
    probabilities: Tensor, labels: Tensor, bins: int = BINS, *, seed: int = 0
) -> Classification:
    r"""Judges probabilities of classes by labels: accuracy and calibration.

    References:
        | On Calibration of Modern Neural Networks (Guo et al., 2017), Eq. 2 and 3
        | https://arxiv.org/abs/1706.04599

    Arguments:
        probabilities: Those of each datum, of shape `(N, K)`.
        labels: The classes, whole numbers of shape `(N,)`; negative ones are not known, and such
            data are left out.
        bins: The number of bins of equal width.
        seed: Seeds the bootstrap, and the labels of :attr:`Classification.chance`.

    Raises:
        ValueError: No datum has a label.
    """
    there = labels >= 0
    if not bool(there.any()):
        raise ValueError("Expected a label for a datum at least; got none.")
    p, labels = probabilities[there].double().cpu(), labels[there].cpu()
    sure, guess = p.max(-1)
    right = (guess == labels).double()
    place = torch.nn.functional.one_hot((sure * bins).long().clamp(0, bins - 1), bins).double()
    count, n = place.sum(0), len(p)
    frequency = right @ place / count

    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(n, (RESAMPLES, n), generator=generator)
    weights = torch.zeros(RESAMPLES, n, dtype=torch.double)
    weights.scatter_add_(1, draws, torch.ones_like(weights))
    error = _error(right - sure, place, torch.ones_like(sure))
    spread = float(_error(right - sure, place, weights).std())
    simulated = (torch.rand(RESAMPLES, n, generator=generator, dtype=torch.double) < sure).double()
    chance = (((simulated - sure) @ place).abs().sum(-1) / n).mean()
    return Classification(
        Mean.of(right, "of the data"),
        Mean(error, spread, ""),
        float(chance),
        sure @ place / count,
        frequency,
        (frequency * (1 - frequency) / count).sqrt(),
        count,
    )


def _error(gap: Tensor, place: Tensor, weights: Tensor) -> Tensor:
    r"""The calibration error of weighted data, of the shape of `weights` without its last."""
    return ((weights * gap) @ place).abs().sum(-1) / weights.sum(-1)


class Agreement(NamedTuple):
    r"""How often a classifier finds in samples the class that was asked for.

    Attributes:
        rate: The share of samples, over all classes evenly.
        by_class: How often a class that was asked for (row) was found as another one (column), of
            shape `(K, K)`; rows sum to 1.
    """

    rate: Mean
    by_class: Tensor


@counted
def agreement(
    vae: Any,
    site: str,
    judge: "Judge",
    num_classes: int,
    num_samples: int = 100,
    *,
    seed: int = 0,
    **known: Any,
) -> Agreement:
    r"""Draws data of each class, :math:`x \sim p(x \mid y)`, and lets a classifier judge them.

    A model may infer `y` well, and yet draw other classes than it is asked for: then the other
    latent variables carry the class, and the decoder ignores `y`.

    Arguments:
        vae: A VAE whose latent site has one-hot classes.
        site: The name of the site.
        judge: The classifier, of :func:`judge_of`.
        num_classes: The number `K` of classes.
        num_samples: The number of samples of each class.
        seed: Seeds the samples.
        known: Conditions, as in :func:`pyro_vae.sample`.
    """
    asked = torch.arange(num_classes).repeat_interleave(num_samples)
    rows = torch.nn.functional.one_hot(asked, num_classes).to(torch.get_default_dtype())
    x = sample(vae, len(asked), "sample", seed=seed, **{site: rows}, **known)
    found = judge.classes_of(x)
    table = torch.zeros(num_classes, num_classes, dtype=torch.double)
    table.index_put_((asked, found), torch.ones(len(asked), dtype=torch.double), accumulate=True)
    right = (found == asked).double()
    return Agreement(Mean.of(right, "of the samples"), table / num_samples)


class Judge(NamedTuple):
    r"""A classifier that is no part of any model.

    Attributes:
        name: What it is, in words.
        classifier: A fitted classifier of scikit-learn.
        scale: What it divides data by.
    """

    name: str
    classifier: Any
    scale: float

    def classes_of(self, x: Tensor) -> Tensor:
        r"""Returns the class of each datum, of shape `(B,)`."""
        return torch.from_numpy(self.classifier.predict(self._scaled(x).numpy())).long()

    def features(self, x: Tensor) -> Tensor:
        r"""Returns the hidden units of the network for each datum, of shape `(B, 100)`."""
        weight, bias = (
            torch.from_numpy(found[0])
            for found in (self.classifier.coefs_, self.classifier.intercepts_)
        )
        return (self._scaled(x) @ weight + bias).relu()

    def _scaled(self, x: Tensor) -> Tensor:
        return torch.nan_to_num(x).flatten(1).double().cpu() / self.scale

    def accuracy(self, split: Split) -> Mean:
        r"""Returns the share of labelled data whose class it finds."""
        if split.labels is None:
            raise ValueError(f"Expected labels in {split.source}; got none.")
        there = split.labels.cpu() >= 0
        found = self.classes_of(split.rows(slice(None)))
        return Mean.of((found == split.labels.cpu())[there].double(), "of the data")


def judge_of(train: Split, *, seed: int = 0) -> Judge:
    r"""Trains a classifier of scikit-learn, a network with 100 hidden units, on labelled data.

    It sees all labels of up to 10,000 rows, and is for judging samples, not for comparison with a
    model of few labels.

    Arguments:
        train: The training data, with labels.
        seed: Seeds its parameters, and bits that are drawn at every visit.

    Raises:
        ValueError: The data have no labels that are classes.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    rows = train.take(train.spread(ROWS))
    labels = rows.labels
    if labels is None or labels.is_floating_point() or not bool((labels >= 0).any()):
        raise ValueError(f"Expected classes as labels in {train.source}; got none.")
    there = labels.cpu() >= 0
    x = torch.nan_to_num(rows.freeze(seed).rows(slice(None))).flatten(1).double().cpu()[there]
    network = MLPClassifier((100,), max_iter=max(20, VISITS // len(x)), random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(x.numpy() / train.scale, labels.cpu()[there].numpy())
    return Judge("scikit-learn's MLPClassifier, 100 hidden units", network, train.scale)
