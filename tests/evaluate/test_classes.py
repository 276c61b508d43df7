"""q(y | x) as a classifier: known tables, constructed calibration, samples of a class."""

import matplotlib
import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.evaluate import Judge, agreement, classification, judge_of

matplotlib.use("Agg")


def sure(p, classes=3):
    """Rows whose first class has probability p, and the others the rest evenly."""
    p = torch.as_tensor(p, dtype=torch.double)
    rest = ((1 - p) / (classes - 1))[:, None].expand(-1, classes - 1)
    return torch.cat([p[:, None], rest], 1)


def test_the_accuracy_of_a_known_table():
    labels = torch.tensor([0, 1, 2, 2, -1])
    found = classification(torch.eye(3)[[0, 1, 2, 0, 1]], labels)
    assert found.accuracy.value == 0.75  # the last has no label
    assert found.accuracy.se == pytest.approx(0.25)  # sqrt(0.75 * 0.25 / 3)
    assert found.error.value == pytest.approx(0.25)  # certain, and right in 3 of 4
    assert found.size.tolist() == [0] * 9 + [4]
    with pytest.raises(ValueError, match="Expected a label"):
        classification(torch.eye(3), torch.full((3,), -1))


def test_the_calibration_error_of_a_constructed_case():
    """100 data at probability 0.75 of which 60 are right, and 100 at 0.95 of which 90 are."""
    p = sure([0.75] * 100 + [0.95] * 100)
    labels = torch.ones(200, dtype=torch.long)
    labels[:60] = labels[100:190] = 0
    found = classification(p, labels)
    assert found.error.value == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)
    there = found.size > 0
    torch.testing.assert_close(found.confidence[there], torch.tensor([0.75, 0.95]).double())
    torch.testing.assert_close(found.frequency[there], torch.tensor([0.6, 0.9]).double())
    # each bin's share has the error of a binomial; far from zero the sum of both is a Normal
    exact = ((0.6 * 0.4 + 0.9 * 0.1) * 100) ** 0.5 / 200
    assert found.error.se == pytest.approx(exact, rel=0.15)


def test_calibrated_probabilities_show_the_error_of_chance():
    torch.manual_seed(0)
    p = torch.distributions.Dirichlet(torch.full((4,), 0.5)).sample((2000,))
    labels = torch.distributions.Categorical(p).sample()
    found = classification(p, labels)
    assert abs(found.error.value - found.chance) < 3 * found.error.se
    wrong = classification(p.square() / p.square().sum(1, keepdim=True), labels)
    assert wrong.error.value > wrong.chance + 5 * wrong.error.se


class First(nn.Module):
    """x is y, whatever z is; or z is what decides."""

    def __init__(self, ignores):
        super().__init__()
        self.ignores = ignores

    def forward(self, inputs):
        y, z = inputs
        return 20 * (z if self.ignores else y.expand_as(z)) - 10


class Largest:
    def predict(self, rows):
        return rows.argmax(1)


@pytest.mark.parametrize("ignores", [False, True])
def test_agreement_of_a_decoder_that_ignores_the_class(ignores):
    vae = pv.VAE(
        pv.Sites(y=pv.priors.Categorical(3), z=pv.priors.StandardNormal(3)),
        pv.likelihoods.Bernoulli(First(ignores)).given("y", "z"),
        pv.Sites(
            y=pv.posteriors.Categorical(nn.Linear(3, 3), 3),
            z=pv.posteriors.MeanFieldNormal(nn.Linear(3, 6)),
        ),
    )
    found = agreement(vae, "y", Judge("the largest", Largest(), 1.0), 3, 200)
    if ignores:
        assert found.rate.value == pytest.approx(1 / 3, abs=4 * found.rate.se)
    else:
        assert found.rate.value > 0.99
    torch.testing.assert_close(found.by_class.sum(1), torch.ones(3).double())


def test_the_judge_knows_digits_and_pictures_are_drawn():
    digits = pv.data.digits()
    judge = judge_of(digits.train)
    accuracy = judge.accuracy(digits.test)
    assert accuracy.value > 0.95 and 0 < accuracy.se < 0.02
    with pytest.raises(ValueError, match="Expected classes as labels"):
        judge_of(pv.data.as_split(torch.randn(5, 2)))
    found = classification(sure([0.75] * 30), torch.zeros(30, dtype=torch.long))
    assert len(pv.plot.plot_reliability(found).axes) == 2
