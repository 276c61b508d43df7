"""Mode coverage against shares that are known."""

import math

import pytest
import torch
from checks import bound

import pyro_vae as pv
from pyro_vae.data import centres_of
from pyro_vae.evaluate import mode_coverage


@pytest.mark.parametrize(("kind", "modes"), [("ring", 8), ("grid", 25)])
def test_the_data_themselves_cover_all_modes(kind, modes):
    data = pv.data.load(kind, rows=20_000, valid=0, test=0)
    found = mode_coverage(data.train, centres_of(data.config), data.config.sigma)
    assert found.covered == found.num_modes == modes
    assert found.near_floor == pytest.approx(1 - math.exp(-4.5))  # of Rayleigh's law
    assert abs(found.near - found.near_floor) < bound(1) * found.near.se
    assert found.divergence < 4 * found.divergence_floor
    distance, mode = torch.cdist(data.train.stored, centres_of(data.config)).min(1)
    assert torch.equal(mode, data.train.labels)  # modes are far from each other
    z = (distance.square().mean() / (2 * data.config.sigma**2) - 1) * 20_000**0.5
    assert abs(z) < bound(1)


def test_lost_modes_and_uneven_shares_are_counted():
    centres = centres_of(pv.config.Ring())
    half = centres[:4].repeat(100, 1)
    found = mode_coverage(half, centres, 0.05)
    assert found.covered == 4 and found.near == 1
    assert found.divergence == pytest.approx(math.log(2)) and found.divergence.se < 1e-6
    few = torch.cat([half, centres[4:5]])  # 1 of 401 is less than a tenth of an eighth
    assert mode_coverage(few, centres, 0.05).covered == 4
    assert mode_coverage(few, centres, 0.05, share=0.0001).covered == 5
    nowhere = mode_coverage(half + 1, centres, 0.05)
    assert nowhere.covered == 0 and nowhere.near == 0
    assert math.isnan(nowhere.divergence) and math.isnan(nowhere.divergence_floor)  # not "fair"
    with pytest.raises(ValueError, match="share as a positive number"):
        mode_coverage(half, centres, 0.05, share=0.0)


def test_the_error_of_the_divergence_is_that_of_repeats():
    centres = centres_of(pv.config.Ring())
    p = torch.tensor([0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    exact = float((p * (8 * p).log()).sum())
    found = [
        mode_coverage(
            centres[torch.multinomial(p, 2000, replacement=True)], centres, 0.05
        ).divergence
        for _ in range(100)
    ]
    values = torch.tensor([float(f) for f in found])
    error = float(values.std()) / 10
    assert abs(float(values.mean()) - 7 / 4000 - exact) < bound(1) * error  # the known bias
    assert 0.75 < found[0].se / float(values.std()) < 1.3


def test_draws_are_those_of_the_seed():
    a, b, c = (pv.data.ring(seed=seed).train.stored for seed in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    with pytest.raises(ValueError, match="Expected samples and one centre or more of one dim"):
        mode_coverage(torch.zeros(5, 3), centres_of(pv.config.Grid()), 0.05)
