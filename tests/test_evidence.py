"""Estimates of log p(x) against exact answers; each check has a planted twin that must fail."""

import math

import pytest
import torch
from checks import Exact, bound, exact_vae, gamma_poisson, linear_gaussian, z_scores

import pyro_vae as pv
from pyro_vae.data import as_split
from pyro_vae.evaluate import annealed, prior_guide
from pyro_vae.evaluate.annealed import schedule

pytestmark = pytest.mark.usefixtures("float64")


# --- Importance sampling ----------------------------------------------------------------------------


def test_naive_monte_carlo_is_unbiased_and_useless():
    vae, exact, x = exact_vae(count=20)
    naive = vae.model, prior_guide(vae.model)
    truth = exact.marginal.log_prob(x)
    ratios = torch.stack(
        [
            (pv.log_marginal(naive, x, 200, seed=s).log_marginal - truth).exp().mean()
            for s in range(200)
        ]
    )
    assert z_scores(ratios, 1.0).abs() < bound(1)
    assert z_scores(2 * ratios, 1.0).abs() > bound(1)

    torch.manual_seed(0)  # where a datum tells much of its z, it hopelessly underestimates
    vae = linear_gaussian(50, 10, 0.3)
    exact = Exact(vae)
    exact.set_posterior(vae)
    x = exact.marginal.sample((20,))
    naive = pv.log_marginal((vae.model, prior_guide(vae.model)), x, 1000).log_marginal
    guided = pv.log_marginal(vae, x, 1000).log_marginal
    truth = exact.marginal.log_prob(x)
    assert (truth - naive).mean() > 5 * (truth - guided).mean().abs()


def test_enumerable_latents():
    """log p(x) of Bernoulli latents is a sum over all their values."""
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Bernoulli(4),
        pv.likelihoods.Bernoulli(pv.nn.MLP(4, [8], 6)),
        pv.posteriors.Bernoulli(pv.nn.MLP(6, [8], 4)),
    )
    for p in vae.parameters():
        p.data *= 2
    x = torch.bernoulli(torch.full((10, 6), 0.5))
    z = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    with torch.no_grad():
        exact = torch.stack(
            [vae.prior().log_prob(v) + vae.likelihood(v.expand(10, 4)).log_prob(x) for v in z]
        ).logsumexp(0)
    estimate = pv.log_marginal(vae, x, 5)
    torch.testing.assert_close(estimate.log_marginal, exact)
    assert estimate.exact and (estimate.mc_se == 0).all() and estimate.mean_se == 0
    assert torch.equal(estimate.lower, estimate.upper)
    light = pv.evaluate.trust(estimate)
    assert light.light == "green" and "exact" in light.sentence and light.green.all()
    with pytest.raises(ValueError, match="continuous latent variables"):
        pv.ais(vae, x)


def test_any_model_and_guide():
    program, x, exact = gamma_poisson()
    estimate = pv.log_marginal(program, x, 5000)
    assert ((estimate.log_marginal - exact) / estimate.mc_se).abs().max() < bound(20)
    assert (pv.elbo(program, x, 1000) < exact).all()
    with pytest.raises(ValueError, match="Expected a VAE, or a pair"):
        pv.elbo(program[0], x)


def test_more_samples_help_by_the_rise():
    """The rise is log-mean-weight of all samples minus the mean of the halves'."""
    vae, exact, x = exact_vae(count=50)
    with torch.no_grad():
        vae.posterior.encoder.layers[0].bias[:2] += 1.0
    runs = [pv.log_marginal(vae, x, 20, seed=s) for s in range(200)]
    halves = [pv.log_marginal(vae, x, 10, seed=1000 + s) for s in range(200)]
    rises = torch.stack([run.rise.mean() for run in runs])
    gains = torch.stack(
        [a.log_marginal.mean() - b.log_marginal.mean() for a, b in zip(runs, halves)]
    )
    assert rises.mean() > 0.01
    assert abs(z_scores(gains - rises, 0.0)) < bound(1)
    assert abs(z_scores(gains - 2 * rises, 0.0)) > bound(1)
    assert pv.log_marginal(vae, x, 1).rise.isnan().all()


def test_an_interrupted_estimate_goes_on(tmp_path, monkeypatch):
    import pyro_vae.evaluate.importance as importance

    monkeypatch.setattr(importance, "ELEMENTS_AT_ONCE", 5 * 20)  # 20 rows at a time
    vae, _, x = exact_vae(count=95)
    whole = pv.log_marginal(vae, x, 64)
    file = tmp_path / "kept.npz"
    original, calls = importance.pareto_shape, []

    def dies(w):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(w)

    monkeypatch.setattr(importance, "pareto_shape", dies)
    with pytest.raises(KeyboardInterrupt):
        pv.log_marginal(vae, x, 64, kept=file)
    again = pv.log_marginal(vae, x, 64, kept=file)
    assert len(calls) == 3 + 3  # of five chunks two were kept
    for a, b in zip(whole, again):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="got others"):
        pv.log_marginal(vae, x, 65, kept=file)


# --- Annealing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["prior", "guide"])
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
            u, state, share = path.move(u, state, 1.0, torch.tensor([0.55]), x, {})
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


# --- Trust --------------------------------------------------------------------------------------------


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
    light = pv.evaluate.trust(estimate)
    assert light.light == "amber" and "Run AIS" in light.sentence
    assert light.green.double().mean() < 0.1
    annealed = pv.ais(vae, x, num_temperatures=300)
    assert abs((annealed.log_marginal - truth).mean()) < wrong.mean() / 2
    assert pv.evaluate.trust(estimate, annealed).light == "red"


def test_the_light_is_green_where_the_number_is_right():
    vae, exact, x = exact_vae(count=300)
    estimate = pv.log_marginal(vae, x, 2000)
    light = pv.evaluate.trust(estimate)
    assert light.light == "green" and light.green.double().mean() >= 0.99
    annealed = pv.ais(vae, x[:50], num_temperatures=100)
    assert "agrees" in pv.evaluate.trust(estimate, annealed).sentence
    few = pv.ais(vae, x, num_temperatures=1, num_leapfrogs=1)
    beside = pv.evaluate.trust(estimate, few)
    assert beside.light == "green" and "has not converged" in beside.sentence
    with pytest.raises(ValueError, match="two data at least"):
        pv.evaluate.trust(estimate, pv.ais(vae, x[:1], num_temperatures=2))


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_numbers_are_checked(numbers):
    vae, _, x = exact_vae(count=3)
    names = dict(zip(("num_temperatures", "num_chains", "num_leapfrogs"), numbers))
    with pytest.raises(ValueError, match="whole number of at least 1"):
        pv.ais(vae, x, **names)
