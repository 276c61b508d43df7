"""Bounds and estimates against exact answers; each check has a planted twin that must fail."""

import math

import numpy as np
import pyro
import pytest
import torch
from checks import Exact, bound, exact_vae, linear_gaussian, z_scores
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import fit_generalized_pareto
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import pyro_vae as pv
from pyro_vae.evaluate.pareto import pareto_shape

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("posterior", ["mean-field", "full"])
@pytest.mark.parametrize("num_samples", [2, 50])
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


def train_linear(latent_dim, epochs):
    x = torch.from_numpy(load_digits().data / 16)
    torch.manual_seed(0)
    outputs = latent_dim + latent_dim * (latent_dim + 1) // 2
    vae = pv.VAE(
        pv.priors.StandardNormal(latent_dim),
        pv.likelihoods.Gaussian(pv.nn.MLP(latent_dim, [], 64), sigma="shared", scale=0.3),
        pv.posteriors.FullCovarianceNormal(pv.nn.MLP(64, [], outputs), latent_dim),
    )
    pv.fit(vae, x, epochs=epochs, batch_size=len(x), lr=3e-2, schedule="cosine", progress=False)
    return vae, x, PCA(latent_dim, svd_solver="full").fit(x.numpy()).score(x.numpy())


@pytest.mark.parametrize(
    "latent_dim,epochs",
    [pytest.param(*run, marks=pytest.mark.slow) for run in ((5, 1500), (10, 5000))],
)
def test_training_reaches_the_ppca_optimum(latent_dim, epochs):
    """A linear VAE with a learned sigma is probabilistic PCA (Lucas et al., 2019)."""
    vae, x, optimum = train_linear(latent_dim, epochs)
    evidence = float(Exact(vae).marginal.log_prob(x).mean())
    assert optimum - 0.005 < evidence <= optimum + 1e-6

    vae.likelihood.requires_grad_(False)  # the guide alone: how tight can the bound be?
    pv.fit(
        vae, x, epochs=epochs // 2, batch_size=len(x), lr=1e-2, schedule="cosine", progress=False
    )
    elbo = float(pv.elbo(vae, x, 50).mean())
    print(f"k={latent_dim}: PCA {optimum:.4f}, evidence {evidence:.4f}, ELBO {elbo:.4f} nats")
    assert evidence - 0.01 < elbo < evidence + 0.01


def test_nuts_finds_the_posterior_that_the_closed_form_gives():
    vae, exact, x = exact_vae(count=1)
    x = x[:1]
    mcmc = MCMC(NUTS(vae.model), num_samples=600, warmup_steps=200, disable_progbar=True)
    mcmc.run(x)
    z = mcmc.get_samples()["z"][:, 0]
    scale = exact.covariance.diagonal().sqrt()
    assert ((z.mean(0) - exact.posterior_mean(x)[0]) / scale).abs().max() < 0.25
    assert (z.std(0) / scale - 1).abs().max() < 0.25


def test_nuts_starts_from_a_vamp_prior():
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, [8], 4))
    vae = pv.VAE(
        pv.priors.Vamp(posterior, torch.randn(3, 4)),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], 4)),
        posterior,
    )
    mcmc = MCMC(NUTS(vae.model), num_samples=20, warmup_steps=20, disable_progbar=True)
    mcmc.run(torch.randn(2, 4))
    assert mcmc.get_samples()["z"].isfinite().all()


def test_vamp_is_the_mixture_it_says():
    posterior = pv.posteriors.FullCovarianceNormal(pv.nn.MLP(4, [8], 5), 2)
    u = torch.randn(3, 4)
    prior = pv.priors.Vamp(posterior, u)
    z = torch.randn(10, 2)
    by_hand = torch.stack([posterior(row).log_prob(z) for row in u]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(prior().log_prob(z), by_hand)
    assert (prior().log_prob(z) - by_hand - math.log(3)).abs().min() > 1  # the twin: log K missing


def test_vamp_draws_components_not_the_first_ones():
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(1, [], 2))
    with torch.no_grad():
        posterior.encoder.layers[0].weight.copy_(torch.tensor([[1.0], [0.0]]))
        posterior.encoder.layers[0].bias.copy_(torch.tensor([0.0, -4.0]))
    prior = pv.priors.Vamp(posterior, torch.arange(5.0)[:, None] * 10)
    drawn = (prior().sample((10_000,))[:, 0] / 10).round()
    counts = torch.bincount(drawn.long(), minlength=5).double()
    assert (
        (counts - 2000) ** 2 / 2000
    ).sum() < 37.3  # chi2 with 4 degrees of freedom, 1e-5 is 28.5


@pytest.mark.parametrize("kind", ["bernoulli", "binomial"])
def test_discrete_likelihoods_sum_to_one(kind):
    decoder = pv.nn.MLP(2, [8], 3)
    likelihood = (
        pv.likelihoods.Bernoulli(decoder)
        if kind == "bernoulli"
        else pv.likelihoods.Binomial(decoder, 16)
    )
    levels = torch.arange(2.0 if kind == "bernoulli" else 17.0)
    x = torch.cartesian_prod(levels, levels, levels)
    p = likelihood(10 * torch.randn(50, 1, 2)).log_prob(x).logsumexp(1)
    assert p.abs().max() < 1e-9
    assert likelihood.support.check(x).all() and not likelihood.support.check(x + 0.5).any()


def test_binomial_is_finite_at_extreme_logits():
    likelihood = pv.likelihoods.Binomial(torch.nn.Identity(), 16)
    x, logits = torch.tensor([0.0, 16.0, 8.0]), torch.tensor([[1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]])
    assert likelihood(logits).log_prob(x).isfinite().all()


@pytest.mark.parametrize("sigma", ["shared", "fixed", "per-element"])
def test_gaussian_is_the_density_it_says(sigma):
    likelihood = pv.likelihoods.Gaussian(
        pv.nn.MLP(2, [8], 6 if sigma == "per-element" else 3), sigma, scale=0.5
    )
    z, x = torch.randn(4, 2), torch.randn(4, 3)
    out = likelihood.decoder(z)
    scale = out[:, 3:].exp() if sigma == "per-element" else torch.tensor(0.5)
    by_hand = (
        -0.5 * ((x - out[:, :3]) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)
    ).sum(1)
    torch.testing.assert_close(likelihood(z).log_prob(x), by_hand)
    twin = (
        -0.5 * (x - out[:, :3]) ** 2 / scale - 0.5 * scale.log() - 0.5 * math.log(2 * math.pi)
    ).sum(1)
    assert (likelihood(z).log_prob(x) - twin).abs().min() > 1e-3  # the twin: sigma for variance


def test_full_covariance_is_the_density_it_says():
    posterior = pv.posteriors.FullCovarianceNormal(pv.nn.MLP(4, [8], 9), 3)
    x, z = torch.randn(4), torch.randn(3)
    out = posterior.encoder(x)
    tril = torch.zeros(3, 3)
    tril[0, 0], tril[1, 0], tril[1, 1], tril[2, 0], tril[2, 1], tril[2, 2] = out[3:]
    tril = tril.tril(-1) + tril.diagonal().exp().diag()
    expected = torch.distributions.MultivariateNormal(out[:3], covariance_matrix=tril @ tril.T)
    torch.testing.assert_close(posterior(x).log_prob(z), expected.log_prob(z))


def test_evidence_is_elbo_plus_kl():
    """log p = KL(q || p(z|x)) + ELBO, each from its closed form."""
    vae, exact, x = exact_vae("mean-field", count=5)
    q = vae.posterior(x).base_dist
    p = torch.distributions.MultivariateNormal(exact.posterior_mean(x), exact.covariance)
    kl = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(q.loc, q.scale.square().diag_embed()), p
    )
    estimates = torch.stack([pv.elbo(vae, x, 200, seed=s) for s in range(50)])
    assert z_scores(estimates, exact.marginal.log_prob(x) - kl).abs().max() < bound(5)
    with pyro.validation_enabled(False):
        assert z_scores(estimates, exact.marginal.log_prob(x) + kl).abs().max() > bound(5)


def test_closed_forms_are_of_linear_gaussian_vaes_alone():
    for wrong in ((5, 2, -1.0), (5, 2, 0.5, "typo")):
        with pytest.raises(ValueError, match="Expected sigma > 0 and the posterior"):
            linear_gaussian(*wrong)
    vae = linear_gaussian(5, 2, 0.5)
    with torch.device("meta"):  # nothing is made on another device than the weights
        Exact(vae).log_marginal(torch.zeros(3, 5, device="cpu"))
    vae.likelihood.decoder = pv.nn.MLP(2, [7], 5)
    with pytest.raises(ValueError, match="Expected a linear-Gaussian VAE"):
        Exact(vae)
