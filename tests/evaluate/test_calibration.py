"""Simulation-based calibration finds posteriors that are off; bounds from above are above."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import bound, exact_vae, gamma_poisson, shifted, z_scores

import pyro_vae as pv
from pyro_vae.evaluate import eubo, sbc
from pyro_vae.statistics import band, uniformity

pytestmark = pytest.mark.usefixtures("float64")


def test_sbc_passes_the_exact_posterior_and_rejects_others():
    vae, _, _ = exact_vae("full")
    good = [sbc(vae, seed=s).p_value for s in range(20)]
    alarms = (sum(p < 0.05 for p in good) - 1) / math.sqrt(20 * 0.05 * 0.95)
    assert alarms < bound(1)
    narrow, biased = shifted(vae, log_scale=math.log(0.8)), shifted(vae, loc=0.3)
    for wrong in (narrow, biased):
        assert sum(sbc(wrong, seed=s).p_value < 0.01 for s in range(10)) == 10
    assert float(sbc(vae).coverage(0.5).mean()) == pytest.approx(0.5, abs=0.05)
    assert float(sbc(narrow).coverage(0.5).mean()) < 0.45


def test_sbc_of_discrete_latents_breaks_ties():
    """Where the posterior is the prior, ranks of bits are uniform too."""
    vae = pv.VAE(
        pv.priors.Bernoulli(3),
        pv.likelihoods.Bernoulli(pv.nn.MLP(3, [], 4)),
        pv.posteriors.Bernoulli(pv.nn.MLP(4, [], 3)),
    ).double()
    for net in (vae.likelihood.decoder, vae.posterior.encoder):
        for p in net.parameters():
            p.data.zero_()
    assert sbc(vae, 1000).p_value > 1e-3
    vae.posterior.encoder.layers[0].bias.data += 1.0
    assert sbc(vae, 1000).p_value < 1e-5
    with pytest.raises(ValueError, match="Expected 20 simulations and 9 draws"):
        sbc(vae, 10)


def blind(vae):
    """q(z | x) = p(z), whatever x."""
    with torch.no_grad():
        for parameter in vae.posterior.parameters():
            parameter.zero_()
    return vae


def wrongs():
    vae = exact_vae("full")[0]
    return {
        "exact": vae,
        "prior": blind(exact_vae("full")[0]),
        "bias 0.15": shifted(vae, loc=0.15),
        "scale 0.85": shifted(vae, log_scale=math.log(0.85)),
    }


def test_a_posterior_that_never_looked_is_found():
    found = sbc(wrongs()["prior"])
    assert found.p_value < 1e-6 and found.worst in ("log p(x | z)", "log p(x, z)")
    assert float(found.p_values[:2].min()) * 2 > 1e-3  # ranks of z alone, the twin, see nothing
    assert found.contraction.abs().max() < 0.15


def test_a_little_bias_and_a_little_narrowness_are_found():
    models = wrongs()
    for name, least in (("bias 0.15", 4), ("scale 0.85", 4)):
        assert sum(sbc(models[name], seed=s).p_value < 0.01 for s in range(8)) >= least


@pytest.mark.slow
def test_rejection_rates_of_calibration(capsys):
    """At 1 %, in 200 repeats of 500 simulations; the exact posterior obeys the level."""
    rates, before = {}, {}
    for name, vae in wrongs().items():
        found = [sbc(vae, seed=s) for s in range(200)]
        rates[name] = np.mean([f.p_value < 0.01 for f in found])
        before[name] = np.mean([_by_bins(f) < 0.01 for f in found])
    with capsys.disabled():
        print()
        for name in rates:
            print(f"{name:12s} before {before[name]:.3f} after {rates[name]:.3f}")
    error = math.sqrt(0.01 * 0.99 / 200)
    assert rates["exact"] - 0.01 < bound(1) * error
    assert rates["prior"] == 1 and before["prior"] < 0.05
    assert rates["bias 0.15"] > before["bias 0.15"] and rates["scale 0.85"] > before["scale 0.85"]


def _by_bins(found):
    """What there was before: chi-squared over ten bins of the ranks of z."""
    from scipy.stats import chisquare

    bins = (found.ranks * 10 // (found.num_draws + 1)).numpy()
    p = [chisquare(np.bincount(column, minlength=10)).pvalue for column in bins.T]
    return min(1.0, min(p) * len(p))


@pytest.mark.parametrize("num_draws", [9, 99])
def test_uniform_ranks_pass_as_often_as_they_should(num_draws):
    rng = np.random.default_rng(1)
    p = np.array([uniformity(rng.integers(0, num_draws + 1, 200), num_draws) for _ in range(2000)])
    for level in (0.01, 0.05, 0.5):
        error = math.sqrt(level * (1 - level) / 2000)
        assert np.mean(p <= level) - level < bound(3) * error
    assert np.mean(p <= 0.5) > 0.3  # and no seldomer than discreteness has it
    wrong = [uniformity(rng.integers(0, num_draws - 1, 2000), num_draws) for _ in range(20)]
    assert max(wrong) < 1e-6


def test_the_band_holds_uniform_ranks_as_a_whole():
    points, low, high = band(500, 99)
    rng = np.random.default_rng(2)
    outside = 0
    for _ in range(2000):
        ranks = np.sort(rng.integers(0, 100, 500))
        share = np.searchsorted(ranks, np.arange(1, 100)) / 500
        outside += bool(((share < low) | (share > high)).any())
    assert abs(outside / 2000 - 0.05) < bound(1) * math.sqrt(0.05 * 0.95 / 2000) + 0.005
    assert np.allclose(points, np.arange(1, 100) / 100)


def test_contraction_and_z_scores_are_the_closed_forms():
    vae, exact, _ = exact_vae("full")
    found = sbc(vae, 2000)
    contraction = 1 - exact.covariance.diagonal()
    assert (found.contraction - contraction).abs().max() < 0.05
    assert (found.z_score.abs() * math.sqrt(2000)).max() < bound(2)
    assert (found.z_spread - 1).abs().max() < 0.1
    narrow = sbc(shifted(vae, log_scale=math.log(0.5)), 2000)
    assert (narrow.z_spread - 2).abs().max() < 0.2  # twice as sure as it may be
    biased = sbc(shifted(vae, loc=0.5), 2000)
    assert (biased.z_score.abs() - 0.5).abs().max() < 0.2


def test_programs_with_several_sites_are_ranked():
    def model(x=None, *, batch_size=1):
        with pyro.plate("data", batch_size if x is None else len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(()), 1.0))
            b = pyro.sample("b", dist.Normal(torch.zeros(2, 2), 1.0).to_event(2))
            mean = a + b.sum((-1, -2))
            return pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("b", dist.Normal(torch.zeros(len(x), 2, 2), 1.0).to_event(2))

    found = sbc((model, guide), 200)
    assert found.ranks.shape == (200, 5) and found.p_values.shape == (8,)
    assert found.p_value < 1e-4 and "log p" in found.worst


@pytest.mark.parametrize("kind", ["mean-field", "full"])
def test_the_bound_from_above_is_the_closed_form(kind):
    """EUBO - log p = KL(p || q), ELBO - log p = -KL(q || p), in the mean over data."""
    vae, exact, _ = exact_vae(kind)
    vae = shifted(vae, loc=0.3, log_scale=-0.2)
    upper, lower = eubo(vae, 20_000)
    with pv.programs.undisturbed(vae, 0):
        _, split = pv.evaluate.annealed.simulate(vae, 20_000)
    x = split.rows(slice(None))
    truth = exact.marginal.log_prob(x)
    p, q = exact.posterior(x), vae.posterior(x)
    if kind == "mean-field":
        q = torch.distributions.MultivariateNormal(
            q.base_dist.loc, scale_tril=q.base_dist.scale.diag_embed()
        )
    above = torch.distributions.kl_divergence(p, q).detach()
    below = torch.distributions.kl_divergence(q, p).detach()
    assert z_scores(upper - truth - above, 0.0).abs() < bound(2)
    assert z_scores(truth - lower - below, 0.0).abs() < bound(2)
    assert z_scores(upper - truth, 0.0) > bound(2)  # twins: neither is log p(x)
    assert z_scores(lower - truth, 0.0) < -bound(2)


def test_the_bound_from_above_wants_a_density():
    vae, _, _ = exact_vae()
    vae.posterior = pv.posteriors.Delta(pv.nn.MLP(5, [], 2))
    with pytest.raises(ValueError, match="whose density is available for any value"):
        eubo(vae, 10)


def plain(x=None, *, batch_size=1):
    """z ~ N(0, 1), x | z ~ N(z, 1): the posterior is N(x / 2, 1 / 2)."""
    with pyro.plate("data", batch_size if x is None else len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
        return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide_of(law, auxiliary=False):
    def guide(x):
        with pyro.plate("data", len(x)):
            if auxiliary:
                u = pyro.sample("u", law(x), infer={"is_auxiliary": True})
                pyro.sample("z", dist.Delta(u))
            else:
                pyro.sample("z", law(x))

    return guide


def right(x):
    return dist.Normal(x / 2, 0.5**0.5)


def test_the_bound_from_above_refuses_points_and_auxiliary_variables():
    """Both would give infinite bounds, even where draws are those of the exact posterior."""
    upper, lower = eubo((plain, guide_of(right)), 500)
    assert (upper - lower).mean().abs() < 1e-12  # the exact guide, whose bounds meet
    for guide in (guide_of(right, auxiliary=True), guide_of(lambda x: dist.Delta(x / 2))):
        assert sbc((plain, guide), 50, 9).p_value <= 1  # ranks need no density
        with pytest.raises(ValueError, match="a point where other values have none"):
            eubo((plain, guide), 10)

    def more(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", right(x))
            pyro.sample("w", dist.Normal(torch.zeros(len(x)), 1.0))

    with pytest.raises(ValueError, match="latent variables only; got 'w'"):
        eubo((plain, more), 10)
    upper, _ = eubo((plain, guide_of(lambda x: dist.HalfNormal(torch.ones(len(x))))), 100)
    assert upper.isinf().any() and not upper.isnan().any()  # no density there: KL is infinite


def test_numbers_without_a_rank_are_refused():
    def guide(x):
        with pyro.plate("data", len(x)):
            with pyro.validation_enabled(False):
                pyro.sample("z", dist.Normal(x * torch.nan, 1.0, validate_args=False))

    with pytest.raises(ValueError, match="numbers to rank; got NaN for latent feature 0"):
        sbc((plain, guide), 50, 9)
    with pytest.raises(ValueError, match="got NaN"):
        eubo((plain, guide), 50)


def test_scores_of_features_that_do_not_vary_are_none():
    """Draws of a sure bit are equal: 0 / 0 and 1 / 0 are no scores."""
    vae = pv.VAE(
        pv.priors.Bernoulli(2),
        pv.likelihoods.Bernoulli(pv.nn.MLP(2, [], 4)),
        pv.posteriors.Bernoulli(pv.nn.MLP(4, [], 2)),
    ).double()
    with torch.no_grad():
        vae.posterior.encoder.layers[0].bias += 20.0
    found = sbc(vae, 100)
    assert found.z_score.isnan().all() and found.z_spread.isnan().all()
    assert found.contraction.min() > 0.99 and found.p_value < 1e-6
    point = sbc((plain, guide_of(lambda x: dist.Delta(x / 2))), 100)
    assert point.z_score.isnan().all() and point.contraction == 1


def test_few_draws_do_not_widen_the_scores():
    """Student's t of 8 degrees of freedom is wider by a third in its variance."""
    squares = [sbc((plain, guide_of(right)), 2000, 9, seed=s).z_spread.square() for s in range(20)]
    squares = torch.cat(squares)
    assert z_scores(squares, 1.0).abs() < bound(1)
    raw = squares * (10 * 8) / (9 * 6)
    assert z_scores(raw, 1.0) > bound(1)  # the twin


def test_data_may_be_returned_in_another_shape():
    """What the model observes is no latent variable, by whatever name and shape it is returned."""

    found = sbc(gamma_poisson()[0], 100)
    assert found.ranks.shape == (100, 1)
    upper, lower = eubo(gamma_poisson()[0], 2000)
    assert upper.mean() > lower.mean()
