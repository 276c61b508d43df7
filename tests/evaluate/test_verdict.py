"""The verdict is green where the number is right, and only there."""

import pytest
import torch
from checks import Exact, exact_vae, linear_gaussian

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def narrow_posterior():
    """x of two elements says of five latent features only their sum: a diagonal guide is lost."""
    torch.manual_seed(1)
    vae = linear_gaussian(2, 5, 0.05**0.5)
    vae.likelihood.decoder.layers[0].weight.data *= 4
    exact = Exact(vae)
    exact.set_posterior(vae)
    return vae, exact, exact.marginal.sample((100,))


def test_the_light_is_not_green_where_the_number_is_wrong():
    vae, exact, x = narrow_posterior()
    truth = exact.marginal.log_prob(x)
    estimate = pv.log_marginal(vae, x, 10_000)
    wrong = truth - estimate.log_marginal
    assert wrong.mean() > 0.1
    found = pv.evaluate.verdict(estimate)
    assert found.colour == "amber" and "Run AIS" in found.reason
    assert found.green.double().mean() < 0.1
    annealed = pv.ais(vae, x, num_temperatures=300)
    assert abs((annealed.log_marginal - truth).mean()) < wrong.mean() / 2
    assert pv.evaluate.verdict(estimate, annealed).colour == "red"


def test_the_light_is_green_where_the_number_is_right():
    vae, exact, x = exact_vae(count=300)
    estimate = pv.log_marginal(vae, x, 2000)
    found = pv.evaluate.verdict(estimate)
    assert found.colour == "green" and found.green.double().mean() >= 0.99
    annealed = pv.ais(vae, x[:50], num_temperatures=100)
    assert "agrees" in pv.evaluate.verdict(estimate, annealed).reason
    few = pv.ais(vae, x, num_temperatures=1, num_leapfrogs=1)
    beside = pv.evaluate.verdict(estimate, few)
    assert beside.colour == "green" and "has not converged" in beside.reason
    with pytest.raises(ValueError, match="two data at least"):
        pv.evaluate.verdict(estimate, pv.ais(vae, x[:1], num_temperatures=2))
