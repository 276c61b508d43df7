"""Comparisons: pairs are pairs, and p values are as rare as their size."""

import math

import pytest
import torch
from checks import bound, z_scores
from scipy import stats

from pyro_vae.evaluate import check_comparable, compare


def test_z_scores_find_a_wrong_mean():
    assert abs(z_scores(torch.randn(1000).double(), 0.5)) > bound(1)


@pytest.mark.usefixtures("float64")
def test_pairs_are_compared():
    torch.manual_seed(0)
    a = -100 + 25 * torch.randn(1000)
    b = a + 1.8 + torch.randn(1000)
    found = compare(a, b)
    assert (
        abs(found.difference - 1.8) < bound(1) * found.difference.se and found.difference.se < 0.05
    )
    assert found.sentence("one", "two").startswith("two beats one by 1.")
    assert compare(b, a).difference == -found.difference
    assert "No difference is seen" in compare(a, a + torch.randn(1000)).sentence()
    bits = compare(a, b, {"discrete": True, "x_shape": [28, 28]}).bits_per_dim
    assert bits == pytest.approx(found.difference / 784 / math.log(2))
    with pytest.raises(ValueError, match="same two or more data"):
        compare(a, b[:10])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "change,message",
    [
        ({"binarize": "no"}, "one measure"),
        ({"range": "levels"}, "one measure"),
        ({"seed": 1}, "one measure"),
        ({"discrete": False}, "one measure"),
        ({"sha256": {"test": "other"}}, "same test data"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    record = {
        "name": "mnist",
        "discrete": True,
        "x_shape": [1, 28, 28],
        "levels": 255,
        "range": "unit",
        "binarize": "dynamic",
        "seed": 0,
        "sha256": {"test": "a"},
    }
    check_comparable(record, dict(record))
    with pytest.raises(ValueError, match=message):
        check_comparable(record, {**record, **change})
    grey = {**record, "binarize": "no"}
    check_comparable(grey, {**grey, "seed": 5})  # no bits were drawn


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
