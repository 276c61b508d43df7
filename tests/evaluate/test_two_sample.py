"""Samples beside data: exact p values, known shares, planted copies."""

import math

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluate import compare_samples, copying, fidelity, judge_of, pqmass
from pyro_vae.statistics import uniformity

DRAWS = 39


def normal(count, dim=2, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.double) + shift


def ranks(shift, repeats=200):
    """Ranks of the p values of small samples of unequal size, from 0."""
    found = []
    for i in range(repeats):
        a, b = normal(60, seed=2 * i), normal(40, seed=2 * i + 1, shift=shift)
        p = pqmass(a, b, 8, 3, DRAWS, seed=i).p_value
        found.append(round(p * (DRAWS + 1)) - 1)
    return np.array(found)


def test_p_values_of_one_law_are_uniform_and_those_of_another_small():
    assert uniformity(ranks(0.0), DRAWS) > 1e-3
    assert uniformity(ranks(0.5), DRAWS) < 1e-6


def test_p_values_of_levels_are_never_too_small():
    """Bits have ties: the test may say less, not more."""
    low = 0
    for i in range(200):
        bits = (normal(100, 3, seed=i) > 0).double()
        low += pqmass(bits[:50], bits[50:], 8, 3, 19, seed=i).p_value <= 0.1
    assert low <= 20 + 4 * (200 * 0.1 * 0.9) ** 0.5


def test_chi_squared_of_one_law_is_one_a_degree_of_freedom():
    found = pqmass(normal(500), normal(700, seed=1), 20, 10)
    assert abs(found.by_chance - 1) < 0.05
    assert abs(found.chi2 - found.by_chance) < 4 * found.by_chance.se
    far = pqmass(normal(500), normal(700, seed=1, shift=0.5), 20, 10)
    assert far.p_value == 0.001 and far.chi2 > far.by_chance + 10 * far.by_chance.se


def test_fidelity_of_one_law_is_that_of_the_formula():
    """Coverage and density in the mean over repeats, and errors that are those of repeats."""
    size, others, k = 60, 80, 3
    found = [
        fidelity(normal(others, seed=2 * i), normal(size, seed=2 * i + 1), k) for i in range(80)
    ]
    exact = 1 - math.prod((size - i) / (size + others - i) for i in range(1, k + 1))
    for name, value in (("coverage", exact), ("density", 1.0)):
        z = pv.evaluate.z_score(torch.tensor([float(getattr(f, name)) for f in found]), value)
        assert abs(z) < 4, name
    for name in ("precision", "recall", "density", "coverage"):
        spread = np.std([float(getattr(f, name)) for f in found], ddof=1)
        told = np.mean([getattr(f, name).se ** 2 for f in found]) ** 0.5
        assert 0.8 < told / spread < 2.0, (name, told / spread)


def test_fidelity_of_a_lost_mode_and_of_noise():
    data = torch.cat([normal(200), normal(200, seed=1, shift=20.0)])[torch.randperm(400)]
    one = fidelity(normal(400, seed=2), data)
    assert one.precision > 0.9 and abs(one.recall - 0.5) < 0.08 and abs(one.coverage - 0.5) < 0.08
    noise = fidelity(40 * torch.rand(400, 2) - 10, data)
    assert noise.precision < 0.4 and noise.density < 0.3
    with pytest.raises(ValueError, match="Expected at least 12 samples and data"):
        fidelity(data[:8], data)


def test_copies_are_found():
    train, test = normal(300, 5), normal(200, 5, seed=1)
    fair = copying(normal(200, 5, seed=2), test, train)
    assert abs(fair.nearer - 0.5) < 4 * fair.nearer.se and fair.p_value > 1e-3
    assert fair.copies == 0
    half = copying(torch.cat([train[:100], normal(100, 5, seed=2)]), test, train)
    assert half.copies == 0.5 and abs(half.nearer - 0.75) < 4 * half.nearer.se
    assert half.p_value < 1e-6
    blurred = copying(train[:200] + 0.01 * normal(200, 5, seed=3), test, train)
    assert blurred.nearer > 0.99 and blurred.copies == 0


def test_the_error_of_pairs_is_that_of_repeats():
    train = normal(100, 3)
    found = [
        copying(normal(50, 3, seed=2 * i + 1), normal(70, 3, seed=2 * i + 2), train).nearer
        for i in range(100)
    ]
    assert abs(pv.evaluate.z_score(torch.tensor([float(f) for f in found]), 0.5)) < 4
    told = np.mean([f.se**2 for f in found]) ** 0.5
    assert 0.75 < told / np.std([float(f) for f in found]) < 1.35


@pytest.mark.slow
def test_samples_of_a_stranger_and_features_used_again():
    digits = pv.data.digits()
    judge = judge_of(digits.train)
    found = compare_samples(digits.valid, digits.test, train=digits.train, features=judge)
    assert found.masses.p_value > 1e-3 and found.accuracy > 0.9
    assert found.fidelity.precision > 0.9 and found.copying.copies == 0
    assert "right for" in str(found) and found.record()["coverage_floor"] > 0.9
    noise = compare_samples(
        np.random.default_rng(0).integers(0, 17, (200, 1, 8, 8)), digits.test, features=judge
    )
    assert noise.masses.p_value == 0.001 and noise.copying is None
    assert noise.fidelity.coverage < 0.5 * noise.fidelity_floor.coverage
    x = digits.test.rows(slice(0, 5))
    classes = judge.features(x) @ torch.from_numpy(judge.classifier.coefs_[1])
    classes += torch.from_numpy(judge.classifier.intercepts_[1])
    assert torch.equal(classes.argmax(1), judge.classes_of(x))


def test_what_cannot_be_compared_is_said():
    x = normal(100)
    for samples, data, words in (
        (x[:10], x, "Expected at least 20 samples and 40 data"),
        (x, normal(100, 3), "Expected samples and data of one shape"),
        (x.where(x > 0, torch.nan), x, "Expected finite numbers in samples"),
    ):
        with pytest.raises(ValueError, match=words):
            compare_samples(samples, data)
    for features, words in (
        (lambda rows: rows * torch.nan, "Expected finite numbers in samples; got nan"),
        (
            lambda rows: rows.sum(1),
            r"features of shape \(50, dim\), a tensor, .* got shape \[50\]",
        ),
        (lambda rows: rows.numpy(), "got ndarray"),
    ):
        with pytest.raises(ValueError, match=words):
            compare_samples(x, x, features=features)


@pytest.mark.parametrize("test", [pqmass, fidelity, lambda a, b: copying(a, b, b)])
@pytest.mark.parametrize("wrong", ["nan", "width", "none"])
def test_each_test_refuses_what_has_no_distances(test, wrong):
    """NaN would fall into some cell, and have a p value."""
    x = normal(30)
    other = {"nan": x.where(x < 1, torch.nan), "width": x[:, :1], "none": x[:0]}[wrong]
    with pytest.raises(ValueError, match="^Expected (finite numbers|one row or more)"):
        test(other, x)


def test_a_large_offset_changes_nothing():
    """As that of times in seconds: squares alone would round all differences away."""
    x, y, train = (normal(60, seed=seed) for seed in range(3))
    for test in (lambda a, b, c: pqmass(a, b).chi2, lambda a, b, c: copying(a, b, c).samples):
        near, far = test(x, y, train), test(*(rows + 2.0**30 for rows in (x, y, train)))
        assert far == pytest.approx(near, rel=1e-4)
