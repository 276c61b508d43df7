"""p values are what they say: as rare as their size where nothing is wrong."""

import math

import pytest
import torch
from checks import bound, exact_vae
from scipy import stats

from pyro_vae.evaluate import compare, predictive_check


def false_alarms(count, repeats, p_of, level=0.01):
    """How many standard errors the rate of alarms lies above its level."""
    generator = torch.Generator().manual_seed(count)
    draws = torch.randn(repeats, count, generator=generator, dtype=torch.float64)
    alarms = sum(p_of(row) < level for row in draws)
    return (alarms / repeats - level) / math.sqrt(level * (1 - level) / repeats)


def ours(row):
    return compare(torch.zeros_like(row), row).p_value


def by_normal(row):
    """The twin: a Normal in the place of Student's t."""
    t = abs(float(row.mean())) / (float(row.std()) / math.sqrt(len(row)))
    return 2 * stats.norm.sf(t)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_false_alarms_of_comparisons_are_as_many_as_promised(count):
    assert abs(false_alarms(count, 4000, ours)) < bound(3)
    assert false_alarms(count, 4000, by_normal) > bound(3)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3, 5, 10, 30, 100])
def test_false_alarms_of_comparisons_at_length(count):
    assert abs(false_alarms(count, 20_000, ours)) < bound(6)


def test_comparisons_refuse_what_is_not_finite():
    for value in (math.nan, math.inf, -math.inf):
        broken = torch.tensor([0.0, value, 1.0])
        with pytest.raises(ValueError, match="of A for datum 1"):
            compare(broken, torch.zeros(3))
        with pytest.raises(ValueError, match="of B for datum 1"):
            compare(torch.zeros(3), broken)
    same = compare(torch.zeros(3), torch.zeros(3))
    assert same.p_value == 1 and "No difference" in same.sentence()
    assert compare(torch.zeros(2), torch.ones(2)).p_value == 0


@pytest.mark.parametrize("replications", [19, pytest.param(100, marks=pytest.mark.slow)])
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
