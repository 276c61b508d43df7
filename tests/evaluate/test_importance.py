"""Estimates of log p(x) against exact answers; each check has a planted twin that must fail."""

import itertools
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import (
    Exact,
    L,
    bound,
    build,
    exact_vae,
    gamma_poisson,
    linear_gaussian,
    states_of,
    z_scores,
)
from pyro.ops.stats import fit_generalized_pareto

import pyro_vae as pv
from pyro_vae.evaluate import prior_guide
from pyro_vae.statistics import pareto_shape

pytestmark = pytest.mark.usefixtures("float64")


def test_evidence_under_a_mixture_prior_is_its_quadrature():
    torch.manual_seed(4)
    vae = pv.VAE(
        pv.priors.GaussianMixture(1, 3),
        pv.likelihoods.Gaussian(pv.nn.MLP(1, [5], 2), "fixed", scale=0.4),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(2, [], 2)),
    )
    vae.posterior.encoder.layers[0].weight.data *= 0.2
    vae.posterior.encoder.layers[0].bias.data[1] += 1.0
    x = vae.model(batch_size=20).detach()
    grid = torch.linspace(-15, 15, 20_001)[:, None, None]
    with torch.no_grad():
        joint = vae.prior().log_prob(grid) + vae.likelihood(grid).log_prob(x)
    evidence = joint.logsumexp(0) + math.log(30 / 20_000)
    estimate = pv.log_marginal(vae, x, 20_000)
    z = (estimate.log_marginal - evidence) / estimate.mc_se
    assert z.abs().max() < bound(20)
    assert (z + math.log(3) / estimate.mc_se).abs().max() > bound(20)  # the twin: log K


def test_relaxed_families_are_evaluated_on_their_discrete_twin():
    triple = ({"kind": "relaxed-bernoulli"}, {"kind": "gaussian"}, {"kind": "relaxed-bernoulli"})
    vae, x = build(triple)
    twin = pv.VAE(
        pv.priors.Bernoulli(L), vae.likelihood, pv.posteriors.Bernoulli(vae.posterior.encoder)
    )
    z, _, log_p = states_of(twin, x)
    torch.testing.assert_close(pv.log_marginal(vae, x).log_marginal, log_p.logsumexp(0).detach())


def test_a_point_has_no_evidence():
    vae, x = build(({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "delta"}))
    with pytest.raises(ValueError, match="use AIS from the prior"):
        pv.log_marginal(vae, x, 10)


# --- Importance sampling ----------------------------------------------------------------------------


@pytest.mark.slow
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
    found = pv.evaluate.verdict(estimate)
    assert found.colour == "green" and "exact" in found.reason and found.green.all()
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

    monkeypatch.setattr(pv.programs.chunks, "ELEMENTS_AT_ONCE", 5 * 20)  # 20 rows at a time
    vae, _, x = exact_vae(count=95)
    whole = pv.log_marginal(vae, x, 64)
    file = tmp_path / "cache.npz"
    original, calls = importance.pareto_shape, []

    def dies(w):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(w)

    monkeypatch.setattr(importance, "pareto_shape", dies)
    with pytest.raises(KeyboardInterrupt):
        pv.log_marginal(vae, x, 64, cache=file)
    again = pv.log_marginal(vae, x, 64, cache=file)
    assert len(calls) == 3 + 3  # of five chunks two were kept
    for a, b in zip(whole, again):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    with pytest.raises(ValueError, match="got others"):
        pv.log_marginal(vae, x, 65, cache=file)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_numbers_are_checked(numbers):
    vae, _, x = exact_vae(count=3)
    names = dict(zip(("num_temperatures", "num_chains", "num_leapfrogs"), numbers))
    with pytest.raises(ValueError, match="whole number of at least 1"):
        pv.ais(vae, x, **names)


def bits(size, dim=6):
    torch.manual_seed(0)
    vae = pv.VAE(
        pv.priors.Bernoulli(size, learned=True),
        pv.likelihoods.Bernoulli(pv.nn.MLP(size, [8], dim)),
        pv.posteriors.Bernoulli(pv.nn.MLP(dim, [8], size)),
    )
    for parameter in vae.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return vae.double(), torch.bernoulli(torch.full((5, dim), 0.5))


def test_bits_are_summed_up_to_a_limit():
    vae, x = bits(16)
    z = torch.tensor(list(itertools.product([0.0, 1.0], repeat=16)))
    with torch.no_grad():
        brute = torch.stack(
            [(vae.prior().log_prob(z) + vae.likelihood(z).log_prob(row)).logsumexp(0) for row in x]
        )
    found = pv.log_marginal(vae, x)
    torch.testing.assert_close(found.log_marginal, brute)
    metrics = pv.evaluate.evaluate(vae, pv.data.as_split(x), 5)
    assert metrics["log_marginal_mc_se"] == 0 and metrics["verdict"] == "green"
    vae, x = bits(17)
    many = pv.log_marginal(vae, x, 500)
    assert not many.exact and (many.mc_se > 0).all()
    metrics = pv.evaluate.evaluate(vae, pv.data.as_split(x), 50)
    assert "Run AIS" not in metrics["reason"]  # there is no path between bits


def test_blocks_and_several_sites_are_summed():
    torch.manual_seed(1)
    vae = pv.VAE(
        pv.priors.Categorical(6, 3, learned=True),
        pv.likelihoods.Gaussian(pv.nn.MLP(6, [8], 4)),
        pv.posteriors.Categorical(pv.nn.MLP(4, [8], 6), 6, 3),
    ).double()
    x = torch.randn(7, 4)
    z = vae.prior().enumerate_support()
    with torch.no_grad():
        brute = (
            vae.prior().log_prob(z)[:, None] + vae.likelihood(z[:, None]).log_prob(x)
        ).logsumexp(0)
    torch.testing.assert_close(pv.log_marginal(vae, x).log_marginal, brute)

    logits = torch.randn(3)

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=logits))
            b = pyro.sample("b", dist.Bernoulli(logits=0.5 * k.to(x.dtype)))
            v = pyro.sample("v", dist.Bernoulli(torch.full((2,), 0.3)).to_event(1))
            mean = k + 2.0 * b + v.sum(-1)
            pyro.sample("x", dist.Normal(mean, 0.8), obs=x[:, 0])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=torch.zeros(len(x), 3)))
            pyro.sample("b", dist.Bernoulli(torch.full((len(x),), 0.5)))
            pyro.sample("v", dist.Bernoulli(torch.full((len(x), 2), 0.5)).to_event(1))

    x = torch.randn(6, 1)
    total = []
    for k, b, v in itertools.product(
        range(3), (0.0, 1.0), itertools.product((0.0, 1.0), repeat=2)
    ):
        log_p = logits.log_softmax(0)[k]
        log_p = log_p + dist.Bernoulli(logits=torch.tensor(0.5 * k)).log_prob(torch.tensor(b))
        log_p = log_p + sum(math.log(0.3 if bit else 0.7) for bit in v)
        total.append(log_p + dist.Normal(torch.tensor(k + 2 * b + sum(v)), 0.8).log_prob(x[:, 0]))
    found = pv.log_marginal((model, guide), x)
    assert found.exact
    torch.testing.assert_close(found.log_marginal, torch.stack(total).logsumexp(0))


@pytest.mark.parametrize("posterior", ["mean-field", "full"])
@pytest.mark.parametrize("num_samples", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_weights_average_to_the_evidence(posterior, num_samples):
    """E[1/K sum_k w_k] = p(x), whatever the guide and K."""
    vae, exact, x = exact_vae(posterior)
    with torch.no_grad():
        vae.posterior.encoder.layers[0].bias += 0.1  # not quite the posterior
    ratios = torch.stack(
        [
            (
                pv.log_marginal(vae, x, num_samples, seed=seed).log_marginal
                - exact.marginal.log_prob(x)
            ).exp()
            for seed in range(100)
        ]
    )
    z = z_scores(ratios, 1.0)
    assert z.abs().max() < bound(len(x))
    twin = z_scores(ratios * (num_samples - 1) / num_samples, 1.0)  # divided by the wrong K
    assert twin.abs().max() > bound(len(x))


def test_log_marginal_is_the_exact_evidence():
    vae, exact, x = exact_vae("mean-field")
    estimate = pv.log_marginal(vae, x, 5000)
    z = (estimate.log_marginal - exact.marginal.log_prob(x)) / estimate.mc_se
    assert z.abs().max() < bound(len(x))
    vae.likelihood.log_scale.data += 0.05  # the twin: another sigma
    wrong = pv.log_marginal(vae, x, 5000)
    assert ((wrong.log_marginal - exact.marginal.log_prob(x)) / wrong.mc_se).abs().max() > bound(
        len(x)
    )


def test_the_monte_carlo_error_is_the_spread():
    vae, _, x = exact_vae("mean-field", count=20)
    runs = [pv.log_marginal(vae, x, 400, seed=seed) for seed in range(300)]
    spread = torch.stack([run.log_marginal for run in runs]).std(0)
    claimed = torch.stack([run.mc_se for run in runs]).square().mean(0).sqrt()
    assert (spread / claimed - 1).abs().max() < bound(20) * 1.3 / math.sqrt(2 * 300)


@pytest.mark.parametrize("posterior", ["mean-field", "full"])
def test_elbo_gap_is_the_closed_form(posterior):
    """log p(x) - ELBO = KL to the posterior: 0 for full covariance, known for mean field."""
    vae, exact, x = exact_vae(posterior)
    gap = exact.marginal.log_prob(x) - pv.elbo(vae, x, 2000)
    expected = 0.0
    if posterior == "mean-field":
        expected = 0.5 * float(
            exact.precision.diagonal().log().sum() - torch.logdet(exact.precision)
        )
        assert expected > 0.01
        gaps = torch.stack(
            [exact.marginal.log_prob(x) - pv.elbo(vae, x, 20, seed=s) for s in range(50)]
        )
        assert z_scores(gaps.mean(1), expected).abs() < bound(1)
        assert z_scores(gaps.mean(1), 2 * expected).abs() > bound(1)  # the twin: a forgotten half
    else:
        assert gap.abs().max() < 1e-9  # zero variance, not only zero mean


def test_the_bound_tightens_with_more_samples():
    """E[log 1/K sum w] does not decrease in K and starts at the ELBO."""
    vae, exact, x = exact_vae("mean-field", count=2000)
    found = [pv.log_marginal(vae, x, k).log_marginal for k in (1, 4, 32, 1000)]
    for fewer, more in zip(found, found[1:]):
        assert z_scores(more - fewer, 0.0) > -bound(4)
    assert z_scores(found[2] - found[0], 0.0) > bound(4)  # what a fixed bound would not do
    assert z_scores(found[-1] - exact.marginal.log_prob(x), 0.0) < bound(4)
    assert torch.equal(pv.log_marginal(vae, x, 1).log_marginal, pv.elbo(vae, x, 1))


def test_chunks_change_nothing_but_the_draws(monkeypatch):
    """Streaming in chunks is exact: the same weights give the same figures in any chunking."""
    import pyro_vae.evaluate.importance as importance

    weights = torch.randn(1000, 7)

    def streamed(size):
        monkeypatch.setattr(
            importance, "log_weights", lambda *a, **k: iter([iter(weights.split(size))])
        )
        return pv.log_marginal(linear_gaussian(5, 2, 1.0), torch.zeros(7, 5), 1000)

    whole = streamed(1000)
    for part in (streamed(333), streamed(1)):
        for a, b in zip(whole, part):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(whole.log_marginal, weights.logsumexp(0) - math.log(1000))
    w = weights.exp()
    torch.testing.assert_close(whole.ess, w.sum(0) ** 2 / (w**2).sum(0))
    torch.testing.assert_close(whole.mc_se, w.std(0) / w.mean(0) / math.sqrt(1000))


@pytest.mark.parametrize("shape", [0.2, 0.7, 1.2])
def test_pareto_shape(shape):
    rng = np.random.default_rng(0)
    excess = torch.from_numpy(np.sort(((1 - rng.random((400, 30))) ** -shape - 1) / shape, axis=0))
    threshold = 2.0
    log_weights = torch.cat([torch.full((1, 30), threshold), threshold + excess]).log()
    khat = pareto_shape(log_weights)
    for column in range(
        3
    ):  # against Pyro's, which takes one datum at a time, from the threshold on
        k, _ = fit_generalized_pareto(excess[:, column].clone())
        assert abs(float(khat[column]) - k) < 1e-9
    se = (1 + shape) / math.sqrt(400)
    assert abs(float(khat.mean()) - (shape * 400 + 5) / 410) < bound(1) * se / math.sqrt(30) + 0.01
    assert pareto_shape(torch.zeros(5, 3)).isnan().all()  # too few to tell
