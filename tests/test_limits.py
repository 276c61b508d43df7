"""What limits a model: gaps, collapse, information, calibration; each against an exact answer."""

import copy
import math

import numpy as np
import pyro
import pytest
import torch
from checks import bound, exact_vae, gamma_poisson, linear_gaussian, z_scores
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import pyro_vae as pv
from pyro_vae.evaluate import (
    CollapseWatch,
    active_units,
    bernoulli_mixture,
    c2st,
    check_comparable,
    compare,
    factor_analysis,
    gold_posterior,
    independent_pixels,
    information,
    interval_coverage,
    ppca,
    predictive_check,
    rate_distortion,
    sbc,
)

pytestmark = pytest.mark.usefixtures("float64")


def shifted(vae, loc=0.0, log_scale=0.0):
    """The same VAE with another posterior."""
    other = copy.deepcopy(vae)
    size = other.prior().event_shape[0]
    with torch.no_grad():
        bias = other.posterior.encoder.layers[0].bias
        if isinstance(other.posterior, pv.posteriors.MeanFieldNormal):
            bias[:size] += loc * bias[size:].exp()
            bias[size:] += log_scale
            return other
        rows, columns = torch.tril_indices(size, size)
        tril = bias[size:]
        diagonal = rows == columns
        tril[diagonal] += log_scale
        tril[~diagonal] *= math.exp(log_scale)
        scale = torch.zeros(size, size)
        scale[rows, columns] = torch.where(diagonal, tril.exp(), tril)
        bias[:size] += loc * scale.square().sum(1).sqrt()
    return other


# --- The gap ledger -----------------------------------------------------------------------------------


def test_gaps_are_the_closed_forms():
    vae, exact, x = exact_vae("mean-field")
    truth = exact.marginal.log_prob(x)
    expected = 0.5 * float(exact.precision.diagonal().log().sum() - torch.logdet(exact.precision))
    assert expected > 0.05
    lazy = shifted(vae, loc=0.5)  # an encoder that is off by s costs s' Lambda s / 2
    ledger = pv.gap_ledger(
        lazy, x, log_p=truth, num_steps=1000, num_samples=20_000, num_particles=16
    )
    assert abs(float(ledger.approximation.mean()) - expected) < 1e-3
    shift = 0.5 * exact.precision.diagonal().rsqrt()
    amortization = 0.5 * float(shift @ exact.precision @ shift)
    assert abs(float(ledger.amortization.mean()) - amortization) < 1e-3
    total = ledger.approximation + ledger.amortization
    torch.testing.assert_close(total, ledger.log_marginal - ledger.elbo)
    full = truth - ledger.optima["full-covariance"]
    assert 0 <= full.mean() < 1e-3
    assert "approximation gap" in str(ledger)


def test_a_full_covariance_has_no_approximation_gap():
    vae, exact, x = exact_vae("full")
    lazy = shifted(vae, loc=0.2, log_scale=0.1)
    truth = exact.marginal.log_prob(x)
    ledger = pv.gap_ledger(lazy, x, ["own"], log_p=truth, num_steps=1500)
    assert abs(ledger.approximation.mean()) < 1e-3
    assert ledger.amortization.mean() > 0.02
    again = pv.gap_ledger(lazy, x[:20], ["own"], num_steps=300)  # log p by its own optimum
    assert (again.log_marginal - truth[:20]).abs().max() < 0.02


def test_the_ledger_takes_any_program():
    program, x, exact = gamma_poisson()
    ledger = pv.gap_ledger(program, x, num_steps=200)
    assert list(ledger.optima) == ["mean-field", "full-covariance"]
    assert (ledger.log_marginal - exact).abs().max() < 0.05
    assert ledger.amortization.mean() > 0.01 and (ledger.approximation > -0.02).all()
    with pytest.raises(ValueError, match="Expected a VAE with one latent site"):
        pv.gap_ledger(program, x, ["own"])
    with pytest.raises(ValueError, match="Expected a family"):
        pv.gap_ledger(program, x, ["rich"])


def test_the_ledger_of_discrete_latents_and_of_flows():
    torch.manual_seed(0)
    x = torch.bernoulli(torch.full((12, 6), 0.5))
    vae = pv.VAE(
        pv.priors.Bernoulli(3),
        pv.likelihoods.Bernoulli(pv.nn.MLP(3, [8], 6)),
        pv.posteriors.Bernoulli(pv.nn.MLP(6, [8], 3)),
    ).double()
    ledger = pv.gap_ledger(vae, x, num_steps=100)
    assert list(ledger.optima) == ["own"] and ledger.amortization.mean() > 0
    vae, exact, x = exact_vae("mean-field", count=30)
    flow = pv.gap_ledger(vae, x, ["own", "planar"], log_p=exact.marginal.log_prob(x))
    assert flow.optima["planar"].mean() > flow.optima["own"].mean() + 0.02


# --- Collapse, rate, information ----------------------------------------------------------------------


def test_active_units_are_the_eigenvalues_above_the_noise():
    """Probabilistic PCA with sigma fixed: what lies below the noise is not encoded."""
    x = torch.from_numpy(load_digits().data / 16)
    values = PCA().fit(x.numpy()).explained_variance_
    variance = 0.3
    assert np.abs(values / variance - 1).min() > 0.02
    torch.manual_seed(0)
    vae = linear_gaussian(64, 10, variance**0.5)
    vae.likelihood.decoder.layers[0].bias.data.copy_(x.mean(0))
    pv.fit(vae, x, epochs=1500, batch_size=len(x), lr=1e-2, schedule="cosine", progress=False)
    active = int((active_units(vae, x) > 0.01).sum())
    assert active == int((values > variance).sum()) == 4


def test_a_forced_collapse_is_announced():
    """The warning comes five epochs before the first unit dies, and long before the last."""
    torch.set_default_dtype(torch.float32)
    x = pv.data.load(pv.config.Digits()).train
    for epochs, kl_weight, collapses in ((40, 100.0, True), (20, 1.0, False)):
        torch.manual_seed(0)
        vae = pv.VAE(
            pv.priors.StandardNormal(8),
            pv.likelihoods.Binomial(pv.nn.MLP(8, [64], (1, 8, 8)), 16, event_dim=3),
            pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 8, 8), [64], 2 * 8)),
        )
        history = pv.fit(
            vae, x, epochs=epochs, kl_weight=kl_weight, kl_warmup_epochs=epochs, progress=False
        )
        warnings = [row["epoch"] for row in history.rows if "warning" in row]
        units = history["active_units"]
        if collapses:
            first_death = next(e for e, n in enumerate(units, 1) if n < 8)
            last_death = next(e for e, n in enumerate(units, 1) if n == 0)
            assert warnings[0] <= first_death - 5 and warnings[0] <= last_death - 5
        else:
            assert units[-1] == 8 and not warnings


def test_the_watch_needs_a_lasting_fall():
    watch = CollapseWatch()
    up_and_down = [torch.tensor([1.0, v]) for v in (0.5, 0.1, 0.2, 0.05, 0.1, 0.03, 0.05)]
    assert all(watch.update(activity) is None for activity in up_and_down)
    slow = CollapseWatch()
    assert all(slow.update(torch.tensor([0.999**i])) is None for i in range(20))


def test_rate_and_distortion_are_minus_the_elbo():
    vae, exact, x = exact_vae("mean-field")
    split = rate_distortion(vae, x, 1, seed=3)
    torch.testing.assert_close(
        split.rate + split.distortion, -pv.elbo(vae, x, 1, seed=3).mean(), rtol=0, atol=1e-5
    )
    q = vae.posterior(x).base_dist
    p = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(q, p).mean(0).detach()
    torch.testing.assert_close(split.by_feature, kl)
    many = torch.stack([rate_distortion(vae, x, 5, seed=s).rate for s in range(50)])
    assert z_scores(many, float(kl.sum())).abs() < bound(1)
    sites = torch.stack([rate_distortion(vae, x, 1, seed=s).by_site["z"] for s in range(100)])
    assert z_scores(sites, float(kl.sum())).abs() < bound(1)


def test_rate_distortion_curve():
    torch.manual_seed(0)
    vae, exact, x = exact_vae("mean-field", count=500)
    before = copy.deepcopy(vae.state_dict())
    curve = pv.rate_distortion_curve(vae, x, x, (0.1, 1.0, 10.0), epochs=30, lr=1e-2)
    rates = [float(point.rate) for point in curve.values()]
    distortions = [float(point.distortion) for point in curve.values()]
    assert rates[0] > rates[1] > rates[2] and distortions[0] < distortions[1] < distortions[2]
    assert all(torch.equal(a, b) for a, b in zip(before.values(), vae.state_dict().values()))


def test_information_of_a_linear_gaussian_model():
    """With the exact posterior, I(x; z) = 1/2 log det(I + W'W / sigma^2), and q(z) = p(z)."""
    vae, exact, _ = exact_vae("full")
    x = exact.marginal.sample((2000,))
    told = information(vae, x)
    expected = 0.5 * float(torch.logdet(exact.precision))
    assert abs(float(told.mutual_information) - expected) < 0.1
    assert abs(float(told.marginal_kl)) < 0.1
    assert 0 <= float(told.holes) < 0.03
    assert told.cap == math.log(2000) and not told.saturated
    rate = float(rate_distortion(vae, x, 20).rate)
    assert abs(float(told.mutual_information + told.marginal_kl) - rate) < 0.1
    few = information(vae, x, 4)
    assert few.mutual_information <= few.cap + 1e-9
    vae.prior = pv.priors.Normal(2, loc=3.0)
    beside = information(vae, x)
    assert float(beside.holes) > 0.3 and float(beside.marginal_kl) > 5
    vae.posterior = pv.posteriors.IAF(pv.nn.MLP(5, [8], 2 * 2 + 4), 2, context_features=4)
    assert math.isfinite(float(information(vae, x, 50).marginal_kl))


# --- Calibration --------------------------------------------------------------------------------------


def test_sbc_passes_the_exact_posterior_and_rejects_others():
    vae, _, _ = exact_vae("full")
    good = [sbc(vae, seed=s).p_value for s in range(40)]
    alarms = (sum(p < 0.05 for p in good) - 2) / math.sqrt(40 * 0.05 * 0.95)
    assert alarms < bound(1)
    narrow, biased = shifted(vae, log_scale=math.log(0.8)), shifted(vae, loc=0.3)
    for wrong in (narrow, biased):
        assert sum(sbc(wrong, seed=s).p_value < 0.01 for s in range(20)) >= 19
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


def test_nuts_agrees_with_the_exact_posterior_and_flags_a_narrow_one():
    vae, exact, x = exact_vae("full", count=1)
    gold = gold_posterior(vae, x, 600)
    chain = gold.samples[:, 0]
    z = (chain.mean(0) - exact.posterior_mean(x)[0]) / (chain.std(0) / gold.ess[0].sqrt())
    assert z.abs().max() < bound(2)
    assert gold.rhat.max() < 1.05 and gold.z.max() < 4
    assert (gold.scale_ratio - 1).abs().max() < 0.25
    narrow = gold_posterior(shifted(vae, log_scale=math.log(0.5)), x, 600)
    assert (narrow.scale_ratio < 0.65).all() and narrow.z.min() > 4


def test_nuts_on_a_half_line():
    program, x, _ = gamma_poisson()
    gold = gold_posterior(program, x[3:4], 600)
    z = gold.samples[:, 0, 0].exp()  # p(z | x) = Gamma(3 + x, 1.5)
    mean, sd = 6 / 1.5, math.sqrt(6) / 1.5
    assert abs(float(z.mean()) - mean) < bound(1) * sd / float(gold.ess[0]) ** 0.5


def test_a_classifier_tells_samples_apart():
    torch.manual_seed(0)
    a, b = torch.randn(400, 3), torch.randn(400, 3)
    accuracy, z = c2st(a, b)
    assert abs(z) < 4 and 0.4 < accuracy < 0.6
    for other in (b + 0.5, 0.6 * b, b @ torch.tensor([[1.0, 0.9, 0], [0, 0.5, 0], [0, 0, 1.0]])):
        assert c2st(a, other)[1] > 4


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


# --- Comparison and references ------------------------------------------------------------------------


def test_pairs_are_compared():
    torch.manual_seed(0)
    a = -100 + 25 * torch.randn(1000)
    b = a + 1.8 + torch.randn(1000)
    found = compare(a, b)
    assert abs(found.difference - 1.8) < bound(1) * found.se and found.se < 0.05
    assert found.sentence("one", "two").startswith("two beats one by 1.")
    assert compare(b, a).difference == -found.difference
    assert "No difference is seen" in compare(a, a + torch.randn(1000)).sentence()
    bits = compare(a, b, {"discrete": True, "x_shape": [28, 28]}).bits_per_dim
    assert bits == pytest.approx(found.difference / 784 / math.log(2))
    with pytest.raises(ValueError, match="same two or more data"):
        compare(a, b[:10])


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


def test_classical_references():
    x = torch.from_numpy(load_digits().data)
    train, test = x[:1500] / 16, x[1500:] / 16
    model = PCA(10).fit(train.numpy())
    ours = ppca(train, test, 10).mean()
    assert abs(float(ours) - model.score(test.numpy())) < 0.01  # theirs divides by N - 1
    assert factor_analysis(train + 0.1 * torch.randn_like(train), test, 10).mean() > -100
    with pytest.raises(ValueError, match="Expected levels"):
        independent_pixels(train, test)
    with pytest.raises(ValueError, match="from 1 to 63"):
        ppca(train, test, 64)
    with pytest.raises(ValueError, match="Expected bits"):
        bernoulli_mixture(x, x)


def test_factor_analysis_recovers_its_own_model():
    torch.manual_seed(0)
    w, noise = torch.randn(8, 3), 0.2 + torch.rand(8)
    covariance = w @ w.T + noise.diag()
    truth = torch.distributions.MultivariateNormal(torch.ones(8), covariance)
    train, test = truth.sample((5000,)), truth.sample((2000,))
    best = truth.log_prob(test).mean()
    fitted = factor_analysis(train, test, 3).mean()
    assert best - 0.03 < fitted < best + 0.01 and fitted > ppca(train, test, 3).mean() + 0.05


def test_discrete_references_sum_to_one():
    torch.manual_seed(0)
    train = torch.bernoulli(torch.rand(6).expand(300, 6))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    for log_p in (independent_pixels(train, every), bernoulli_mixture(train, every, 4)):
        assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-9)
    levels = torch.randint(4, (300, 2)).double()
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 2)
    assert float(independent_pixels(levels, grid).exp().sum()) == pytest.approx(1.0, abs=1e-9)
    twins = torch.cat([torch.zeros(200, 6), torch.ones(200, 6)])  # two clusters
    mixture, single = bernoulli_mixture(twins, twins, 5), independent_pixels(twins, twins)
    assert mixture.mean() > single.mean() + 2


# --- All together -------------------------------------------------------------------------------------


def test_asking_changes_nothing():
    vae, _, x = exact_vae("mean-field", count=20)
    vae.train()
    vae.likelihood.eval()
    before = copy.deepcopy(vae.state_dict())
    rng, gradients = torch.get_rng_state(), [p.requires_grad for p in vae.parameters()]
    flags = [m.training for m in vae.modules()]
    for ask in (
        lambda: pv.log_marginal(vae, x, 10),
        lambda: pv.ais(vae, x, num_temperatures=3),
        lambda: pv.bdmc(vae, 5, num_temperatures=3),
        lambda: pv.gap_ledger(vae, x, num_steps=3, num_samples=3),
        lambda: active_units(vae, x),
        lambda: rate_distortion(vae, x),
        lambda: information(vae, x),
        lambda: sbc(vae, 100, 9),
        lambda: gold_posterior(vae, x[:1], 20, num_warmup=5),
        lambda: predictive_check(vae, x, num_replications=2),
        lambda: interval_coverage(vae, x, num_draws=2),
    ):
        ask()
        assert all(torch.equal(a, b) for a, b in zip(before.values(), vae.state_dict().values()))
        assert torch.equal(rng, torch.get_rng_state())
        assert flags == [m.training for m in vae.modules()]
        assert gradients == [p.requires_grad for p in vae.parameters()]
        assert all(p.grad is None for p in vae.parameters())
        assert pyro.settings.get("validate_distributions_pyro") is True


def test_datatree(tmp_path):
    xarray = pytest.importorskip("xarray")
    vae, exact, x = exact_vae("mean-field", count=3)
    tree = pv.evaluate.to_datatree(vae, x, num_samples=200, dims={"z": ["feature"]})
    assert tree["posterior"]["z"].dims == ("chain", "draw", "datum", "feature")
    assert tree["posterior"]["z"].shape == (1, 200, 3, 2)
    assert tree["posterior_predictive"]["x"].shape == (1, 200, 3, 5)
    assert tree["prior"]["z"].shape == (1, 200, 3, 2)
    assert tree["log_likelihood"]["x"].shape == (1, 200, 3)
    np.testing.assert_allclose(tree["observed_data"]["x"], x)
    weights = torch.from_numpy(tree["sample_stats"]["log_weight"].values)[0]
    estimate = weights.logsumexp(0) - math.log(200)
    assert (estimate - exact.marginal.log_prob(x)).abs().max() < 0.3
    tree.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    again = xarray.open_datatree(tmp_path / "run.nc", engine="h5netcdf")
    assert again["posterior"].equals(tree["posterior"])
