"""MIG and DCI on codes whose answer is known, and the data that they are about."""

from itertools import product
from math import isnan, log, pi

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluate import dci, factor_scores, mig

GRID = torch.tensor([*product(range(4), range(5), range(6))] * 3).double()
FACTORS = {"a": GRID[:, 0], "b": GRID[:, 1], "c": GRID[:, 2]}
STANDARD = (GRID - GRID.mean(0)) / GRID.std(0)


def test_a_code_along_the_axes_has_all_scores_near_one():
    codes = torch.cat([STANDARD[:, [2, 0, 1]].exp(), torch.randn(len(GRID), 1).double()], 1)
    gap = mig(codes, FACTORS)
    assert 1 - float(gap.value) < 2 * float(gap.floor) < 0.12  # what noise tells by chance
    exact = mig(codes[:, :3], FACTORS)  # of factors that are independent in the data
    assert float(exact.value) == pytest.approx(1, abs=1e-12)
    scores = dci(codes, FACTORS, num_resamples=1)
    assert [float(score.value) > 0.93 for score in scores] == [True] * 3
    assert all(float(score.floor) < 0.3 for score in scores)


def test_a_rotated_code_has_lower_ones_and_an_independent_code_none():
    angle = torch.tensor(pi / 4)
    turn = torch.eye(3).double()
    turn[:2, :2] = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    straight, turned = mig(STANDARD, FACTORS), mig(STANDARD @ turn, FACTORS)
    assert float(straight.value) - float(turned.value) > 0.3  # a and b are in two features each
    options = {"num_resamples": 1}
    pairs = zip(dci(STANDARD, FACTORS, **options), dci(STANDARD @ turn, FACTORS, **options))
    for one, other in [*pairs][:2]:
        assert float(one.value) - float(other.value) > 0.2
    noise = torch.randn(len(GRID), 3).double()
    gap, (apart, whole, told) = mig(noise, FACTORS), dci(noise, FACTORS, num_resamples=2)
    for score in (gap, apart, whole):
        assert abs(float(score.value - score.floor)) < 5 * max(score.value.se, score.floor.se)
    assert float(told.value) == float(told.floor) == 0 and float(gap.value) < 0.05


def test_information_is_that_of_the_counts():
    """Two features, one of which says a half of a bit: MIG is the difference over the entropy."""
    a = torch.arange(4).repeat(100)
    codes = torch.stack([a // 2, torch.where(a == 3, 1, 0)], 1).double()
    second = log(4) - 0.75 * log(3)  # I(1{a = 3}; a)
    assert float(mig(codes, {"a": a}).value) == pytest.approx((log(2) - second) / log(4))


def test_errors_are_those_of_new_data():
    """The bootstrap's error is the spread over data sets, within what ten resamples can say."""
    values, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = torch.from_numpy(rng.integers(len(GRID), size=300))
        noisy = STANDARD[rows] + torch.from_numpy(rng.normal(size=(300, 3)))
        score = mig(noisy, {n: v[rows] for n, v in FACTORS.items()}, num_bins=8, seed=seed).value
        values.append(float(score))
        errors.append(score.se)
    assert 0.6 < np.mean(errors) / np.std(values) < 1.6


def test_what_has_no_factors_is_refused():
    vae, x = model(), pv.data.sprites().test
    with pytest.raises(ValueError, match="known factors; got none"):
        factor_scores(vae, x.rows(slice(0, 50)))
    with pytest.raises(ValueError, match="one number for each of"):
        mig(torch.randn(10, 3), {"a": torch.arange(9)})
    with pytest.raises(ValueError, match="cut it into bins"):
        mig(torch.randn(10, 3), {"a": torch.randn(10)})
    with pytest.raises(ValueError, match="two features or more"):
        mig(torch.randn(10, 1), {"a": torch.arange(10) % 2})
    z = torch.randn(10, 2)
    for score in (mig, dci):
        with pytest.raises(ValueError, match="a factor or more, all of numbers; got none"):
            score(z, {})
        with pytest.raises(ValueError, match="all of numbers; got a of <U1.* Number other values"):
            score(z, {"a": ["u", "v"] * 5})
        with pytest.raises(ValueError, match="finite numbers in a; got some that are not"):
            score(z, {"a": [0.0, float("nan")] * 5})


def test_a_single_factor_has_no_disentanglement():
    """Every feature is about it: the entropy has no base."""
    v = torch.arange(200) % 4
    z = torch.stack([v.float(), torch.randn(200, generator=torch.Generator().manual_seed(0))], 1)
    disentanglement, completeness, informativeness = dci(z, {"a": v}, num_resamples=2)
    assert isnan(disentanglement.value) and isnan(disentanglement.floor)
    assert completeness.value > 0.99 and informativeness.value > 0.99


def model():
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.StandardNormal(4),
        pv.likelihoods.Binomial(pv.nn.MLP(4, [16], (1, 16, 16)), 16, event_dim=3),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 16, 16), [16], 8, scale=16)),
    )


def test_sprites_are_every_combination_once():
    data = pv.data.sprites()
    whole = data.all()
    assert len(whole) == 7200 == len(whole.stored.flatten(1).unique(dim=0))
    assert [int(v.max()) + 1 for v in whole.factors.values()] == [3, 4, 6, 10, 10]
    combinations = torch.stack([*whole.factors.values()], 1).unique(dim=0)
    assert len(combinations) == 7200 and whole.stored.max() == 16
    f, x = whole.factors, whole.stored.double().squeeze(1)
    centre = (x.sum(1) * (torch.arange(16) + 0.5)).sum(1) / x.sum((1, 2))
    square = (f["shape"] == 0) & (f["rotation"] == 0)
    place = 8 + 0.75 * (f["column"] - 4.5)  # pixels
    assert float((centre[square] - place[square]).abs().max()) < 0.05
    areas = [x[square & (f["scale"] == size)].sum((1, 2)) / 16 for size in range(4)]
    assert all(float(area.std()) < 0.2 for area in areas)
    assert float(areas[3].mean()) == pytest.approx(6.4**2, rel=0.05)
    other = pv.data.sprites(seed=1)
    assert not torch.equal(other.train.stored, data.train.stored)
    assert torch.equal(data.test.labels, data.test.factors["shape"])


def test_a_vae_has_scores_of_its_data():
    vae, x = model(), pv.data.sprites().test.take(slice(0, 150))
    found = factor_scores(vae, x, num_resamples=2)
    given = factor_scores(vae, x, x.factors, num_resamples=2)
    assert found == given
    record = found.record()
    assert 0 <= record["mig"] < 0.5 and record["mig_se"] >= 0
    assert {"disentanglement_by_chance", "informativeness_se"} <= {*record}
    assert "by chance" in str(found.mig)
