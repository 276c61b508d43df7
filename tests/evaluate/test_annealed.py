"""Annealed importance sampling against exact answers, from below and from above."""

import math

import pytest
import torch
from checks import bound, exact_vae, gamma_poisson, z_scores

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.evaluate import annealed
from pyro_vae.evaluate.annealed import schedule

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("start", ["prior", pytest.param("guide", marks=pytest.mark.slow)])
def test_annealed_weights_average_to_the_evidence(start):
    """E[w] = p(x) with any number of temperatures, however badly chains mix."""
    vae, exact, x = exact_vae(count=100)
    with torch.no_grad():
        vae.posterior.encoder.layers[0].bias[:2] += 0.3
    truth = exact.marginal.log_prob(x)
    ratios = torch.stack(
        [
            (
                pv.ais(
                    vae, x, num_temperatures=4, num_leapfrogs=2, start=start, seed=s
                ).log_marginal
                - truth
            ).exp()
            for s in range(100)
        ]
    )
    assert z_scores(ratios, 1.0).abs().max() < bound(100)
    assert z_scores(ratios.mean(1), 1.0).abs() < bound(1)
    assert z_scores(1.1 * ratios.mean(1), 1.0).abs() > bound(1)


@pytest.mark.slow
def test_annealing_stays_below_and_tightens():
    vae, exact, x = exact_vae(count=300)
    truth = exact.marginal.log_prob(x)
    gaps = []
    for temperatures in (3, 30, 300):
        estimate = pv.ais(vae, x, num_temperatures=temperatures, num_chains=2)
        gaps.append(truth - estimate.log_marginal)
    means = [float(gap.mean()) for gap in gaps]
    error = float(gaps[2].std()) / 300**0.5
    assert means[0] > means[1] > means[2] > -bound(1) * error
    assert means[2] < bound(1) * error and means[1] > 2 * bound(1) * error
    assert 0.5 < estimate.acceptance.mean() <= 1


@pytest.mark.slow
def test_the_error_of_annealing_is_its_spread():
    vae, _, x = exact_vae(count=20)
    runs = [
        pv.ais(vae, x, num_temperatures=5, num_chains=32, num_leapfrogs=3, start="guide", seed=s)
        for s in range(100)
    ]
    spread = torch.stack([run.log_marginal for run in runs]).std(0)
    claimed = torch.stack([run.mc_se for run in runs]).square().mean(0).sqrt()
    assert (spread / claimed - 1).abs().max() < bound(20) * 1.3 / math.sqrt(2 * 100)


def test_annealing_on_a_half_line():
    program, x, exact = gamma_poisson()
    estimate = pv.ais(program, x, num_temperatures=100, num_chains=50)
    assert ((estimate.log_marginal - exact) / estimate.mc_se).abs().max() < bound(20)


def test_sandwich_holds_the_truth():
    """On average over data the forward bound is below and the backward bound above."""
    vae, exact, _ = exact_vae()
    widths = []
    for temperatures in (5, 100):
        bounds = pv.bdmc(vae, 300, num_temperatures=temperatures, num_chains=2)
        truth = exact.marginal.log_prob(bounds.x)
        below, above = (truth - bounds.lower), (bounds.upper - truth)
        assert below.mean() > -bound(1) * below.std() / 300**0.5
        assert above.mean() > -bound(1) * above.std() / 300**0.5
        widths.append(float((bounds.upper - bounds.lower).mean()))
    assert widths[0] > 3 * widths[1] > 0
    assert (pv.bdmc(vae, 50, num_temperatures=20, seed=1).lower != bounds.lower[:50]).any()


def test_backward_weights_average_to_the_inverse():
    """E[1 / w] = 1 / p(x) along the way back from an exact posterior sample."""
    vae, exact, _ = exact_vae()
    ratios = []
    for seed in range(25):
        bounds = pv.bdmc(vae, 200, num_temperatures=30, num_chains=1, num_leapfrogs=3, seed=seed)
        ratios.append((exact.marginal.log_prob(bounds.x) - bounds.upper).exp().mean())
    assert z_scores(torch.stack(ratios), 1.0).abs() < bound(1)
    assert z_scores(1.2 * torch.stack(ratios), 1.0).abs() > bound(1)


def test_moves_leave_the_posterior_alone():
    """Exact samples stay exact, with steps so long that a third of the moves is refused."""
    vae, exact, x = exact_vae(count=1)
    path = annealed.Path(vae, as_split(x), 10, 1, num_leapfrogs=3, start="prior")
    tril = torch.linalg.cholesky(exact.covariance)
    u = exact.posterior_mean(x) + torch.randn(20_000, 1, 2) @ tril.T
    with torch.no_grad():
        state = path.densities(u, x)
        for _ in range(10):
            u, state, share = path.move(u, state, 1.0, torch.tensor([0.55]), (x, {}))
    assert 0.4 < share.mean() < 0.9
    z = torch.linalg.solve_triangular(tril, (u[:, 0] - exact.posterior_mean(x)).T, upper=False)
    moments = torch.stack([*z, z[0] ** 2 - 1, z[1] ** 2 - 1, z[0] * z[1]])
    assert z_scores(moments.T, 0.0).abs().max() < bound(5)


def test_schedule():
    betas = schedule(100)
    assert betas[0] == 0 and betas[-1] == 1 and (betas[1:] > betas[:-1]).all()
    assert abs(betas[50] - 0.5) < 1e-12
    steps = betas[1:] - betas[:-1]
    assert steps[0] < steps[50] and steps[-1] < steps[50]
