"""Predictions of the true model pass, and those of others do not."""

import math

import pytest
import torch
from checks import bound, exact_vae

from pyro_vae.evaluate import c2st, interval_coverage, predictive_check


@pytest.mark.usefixtures("float64")
def test_a_classifier_tells_samples_apart():
    torch.manual_seed(0)
    a, b = torch.randn(400, 3), torch.randn(400, 3)
    accuracy, z = c2st(a, b)
    assert abs(z) < 4 and 0.4 < accuracy < 0.6
    for other in (b + 0.5, 0.6 * b, b @ torch.tensor([[1.0, 0.9, 0], [0, 0.5, 0], [0, 0, 1.0]])):
        assert c2st(a, other)[1] > 4


@pytest.mark.usefixtures("float64")
def test_predictions_of_the_true_model_pass():
    vae, exact, x = exact_vae("full", count=300)
    good = predictive_check(vae, x, num_replications=400)
    assert all(check.p_value > 0.01 for check in good.values())
    covered = interval_coverage(vae, x, given="prior")
    for level, share in covered.items():
        se = math.sqrt(level * (1 - level) / 300)  # elements of one datum depend on each other
        assert abs(share - level) < bound(3) * se
    assert all(a > b for a, b in zip(interval_coverage(vae, x).values(), covered))
    vae.likelihood.log_scale.data -= 1.0
    assert predictive_check(vae, x, num_replications=400)["standard deviation"].p_value < 0.01
    narrow = interval_coverage(vae, x)
    assert narrow[0.95] < 0.85
    with pytest.raises(ValueError, match="'prior' or 'posterior'"):
        interval_coverage(vae, x, given="z")


@pytest.mark.parametrize(
    "replications", [pytest.param(n, marks=pytest.mark.slow) for n in (19, 100)]
)
def test_predictive_p_values_are_never_too_small(replications):
    """Under the model itself P(p <= level) <= level; shares without the data themselves are not."""
    vae, exact, _ = exact_vae(posterior="full")
    vae = vae.float()
    statistic = {"mean": lambda x: x.flatten(1).mean(1)}
    repeats, found = 300, []
    for seed in range(repeats):
        torch.manual_seed(seed)
        x = exact.marginal.sample((20,))
        check = predictive_check(vae, x, statistic, replications, seed=seed)["mean"]
        above = float((check.replicated >= check.observed).double().mean())
        below = float((check.replicated <= check.observed).double().mean())
        found.append((check.p_value, 2 * min(above, below)))
    p, twin = torch.tensor(found, dtype=torch.float64).T
    for level in (0.01, 0.05, 0.2):
        error = math.sqrt(level * (1 - level) / repeats)
        assert float((p <= level).double().mean()) - level < bound(6) * error
    assert p.min() >= 2 / (replications + 1)
    if replications == 19:
        error = math.sqrt(0.01 * 0.99 / repeats)
        assert float((twin <= 0.01).double().mean()) - 0.01 > bound(6) * error


def test_statistics_that_are_not_finite_are_named():
    vae, exact, x = exact_vae(count=5)
    with pytest.raises(ValueError, match="got 'ratio' with"):
        predictive_check(vae.float(), x.float(), {"ratio": lambda x: x[:, 0] / 0 * 0}, 5)
