r"""Formulas that well-known tutorials misprint: the wrong form fails, ours holds.

The tutorials are "Tutorial on Variational Autoencoders" and two lecture notes that follow it;
each test names the claim.
"""

import math

import pyro.distributions as dist
import pytest
import torch
from checks import bound, linear_gaussian, z_scores

import pyro_vae as pv
from pyro_vae.objectives import kl_divergence

pytestmark = pytest.mark.usefixtures("float64")


def kl(mu, sigma):
    q = dist.Normal(torch.tensor(mu), torch.tensor(sigma)).to_event(1)
    p = dist.Normal(torch.zeros(len(mu)), 1.0).to_event(1)
    return float(kl_divergence(q, p))


def test_sigma_is_always_a_standard_deviation():
    """sigma as a covariance in the determinant and a standard deviation in the trace."""
    mu, sigma = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 3.0])
    printed = 0.5 * (sigma @ sigma + mu @ mu - 2 - sigma.log().sum())
    right = 0.5 * (sigma @ sigma + mu @ mu - 2 - (sigma**2).log().sum())
    assert float(printed) == pytest.approx(3.967, abs=1e-3)
    assert float(right) == pytest.approx(3.765, abs=1e-3)
    assert kl([0.3, -1.0], [0.5, 3.0]) == pytest.approx(float(right), rel=1e-12)
    as_variance = kl([0.3, -1.0], [math.sqrt(0.5), math.sqrt(3.0)])
    assert as_variance == pytest.approx(1.092, abs=1e-3)


def test_a_divergence_is_never_negative():
    """The printed form is -0.0767 at mu = 0, sigma^2 = 1/2, which no divergence is."""
    variance = 0.5
    printed = 0.5 * (variance - 1 - math.log(math.sqrt(variance)))
    assert printed == pytest.approx(-0.0767, abs=1e-4)
    assert kl([0.0], [math.sqrt(variance)]) > 0
    assert kl([0.0], [1.0]) == 0.0
    steps = torch.linspace(0.2, 2.0, 181)
    values = [kl([0.0], [float(s)]) for s in steps]
    assert float(steps[values.index(min(values))]) == pytest.approx(1.0)  # its minimum


def test_samples_are_mean_plus_scaled_noise():
    """z = mu + mu * noise has no variance at mu = 0; z = mu + sigma * noise has the right one."""
    posterior = pv.posteriors.MeanFieldNormal(torch.nn.Identity())
    z = posterior(torch.tensor([0.0, math.log(0.7)]))((50_000,))
    assert abs(z_scores(z, 0.0)) < bound(2)
    assert abs(z_scores(z**2, 0.49)) < bound(2)
    noise = torch.randn(50_000)
    assert float((0.0 + 0.0 * noise).std()) == 0.0


def test_squared_error_is_a_gaussian_of_one_variance():
    """Equal only with the 2 sigma^2 and the constant: the sum is sigma^2 = 1/2, the mean D/2."""
    x, f = torch.randn(7), torch.randn(7)
    for variance, scale in ((0.5, 1.0), (7 / 2, 1 / 7)):
        p = pv.likelihoods.Gaussian(torch.nn.Identity(), "fixed", scale=math.sqrt(variance))(f)
        squared = (x - f).square().sum() * scale
        constant = 7 / 2 * math.log(2 * math.pi * variance)
        torch.testing.assert_close(-p.log_prob(x), squared + constant)
        assert abs(float(-p.log_prob(x) - squared)) > 0.1  # the bare error is not a density


def test_the_average_likelihood_under_q_is_not_the_evidence():
    """E_q p(x | z) is not p(x); E_q p(x | z) p(z) / q(z | x) is."""
    x, q = torch.tensor(1.0), dist.Normal(0.6, 0.5)
    p = dist.Normal(0.0, 1.0)
    z = q.sample((400_000,))
    likelihood = dist.Normal(z, 0.8).log_prob(x).exp()
    evidence = float(dist.Normal(0.0, math.sqrt(1.64)).log_prob(x).exp())
    weights = likelihood * (p.log_prob(z) - q.log_prob(z)).exp()
    assert abs(z_scores(weights, evidence)) < bound(1)
    assert abs(z_scores(likelihood, evidence)) > 100


def test_the_gap_is_subtracted():
    """log p(x) - KL(q || p(z | x)) is the bound; plus the divergence is above log p(x)."""
    p, q, x = dist.Normal(0.0, 1.0), dist.Normal(0.5, 0.9), torch.tensor(1.0)
    evidence = dist.Normal(0.0, math.sqrt(2.0)).log_prob(x)
    gap = torch.distributions.kl_divergence(q, dist.Normal(0.5, math.sqrt(0.5)))
    z = q.sample((400_000,))
    elbo = dist.Normal(z, 1.0).log_prob(x) + p.log_prob(z) - q.log_prob(z)
    assert abs(z_scores(elbo, float(evidence - gap))) < bound(1)
    assert abs(z_scores(elbo, float(evidence + gap))) > 10


def test_discrete_data_need_no_density_that_is_continuous_in_x():
    """A Bernoulli likelihood is differentiable where it must be: in the parameters."""
    f = torch.zeros(3, requires_grad=True)
    pv.likelihoods.Bernoulli(torch.nn.Identity())(f).log_prob(torch.tensor([0.0, 1, 1])).backward()
    torch.testing.assert_close(f.grad, torch.tensor([-0.5, 0.5, 0.5]))


def test_the_logarithm_is_of_the_density():
    """log p_theta(x), a number that falls with the distance; not log_theta of p."""
    p = pv.likelihoods.Gaussian(torch.nn.Identity(), "fixed")(torch.zeros(1))
    theta = 2.5
    right = float(p.log_prob(torch.ones(1)))
    assert right == pytest.approx(-0.5 - 0.5 * math.log(2 * math.pi))
    assert math.log(math.exp(right), theta) != pytest.approx(right)


def test_a_divergence_is_not_a_similarity():
    """It grows with the distance, and is not symmetric."""
    near, far = kl([0.1], [1.0]), kl([2.0], [1.0])
    assert 0 < near < far
    narrow, wide = dist.Normal(0.0, 0.3), dist.Normal(0.0, 1.0)
    assert float(kl_divergence(narrow, wide)) != pytest.approx(float(kl_divergence(wide, narrow)))


def test_a_normal_takes_a_scale_not_a_variance():
    """N(mu, sigma) here and N(mu, sigma^2 I) there: ours is the scale everywhere."""
    sigma = 0.3
    likelihood = pv.likelihoods.Gaussian(torch.nn.Identity(), "fixed", scale=sigma)(torch.zeros(1))
    posterior = pv.posteriors.MeanFieldNormal(torch.nn.Identity())
    q = posterior(torch.tensor([0.0, math.log(sigma)]))
    prior = pv.priors.Normal(1, scale=sigma)()
    for normal in (likelihood, q, prior):
        assert float(normal.stddev) == pytest.approx(sigma)
        assert float(normal.variance) == pytest.approx(sigma**2)
    text = pv.explain(linear_gaussian(2, 1, sigma)).text
    assert "sigma is a standard deviation, never a variance" in text


def test_the_two_gaps_are_different():
    """What a family cannot express is approximation; what an encoder misses is amortization."""
    from checks import Exact

    vae = linear_gaussian(4, 2, 0.5)
    exact = Exact(vae)
    exact.set_posterior(vae)  # the best diagonal guide: no amortization gap at all
    x = exact.marginal.sample((400,))
    approximation = 0.5 * float(
        exact.precision.diagonal().log().sum() - torch.logdet(exact.precision)
    )
    gap = exact.marginal.log_prob(x).mean() - pv.elbo(vae, x, 400).mean()
    assert approximation > 0.005
    assert float(gap) == pytest.approx(approximation, abs=0.02)
    for parameter in vae.posterior.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    worse = exact.marginal.log_prob(x).mean() - pv.elbo(vae, x, 400).mean()
    assert float(worse) > float(gap) + 0.01  # the rest is due to the encoder


@pytest.mark.slow
def test_the_maximum_of_a_sum_is_not_the_sum_of_maxima():
    """An encoder maximizes the sum over data; free parameters maximize each bound."""
    vae = linear_gaussian(3, 1, 0.5)
    x = torch.randn(20, 3)
    vae.requires_grad_(False)
    shared = pv.VAE(vae.prior, vae.likelihood, pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [], 2)))
    shared.posterior.encoder.layers[0].weight.data.zero_()
    shared.posterior.encoder.layers[0].weight.requires_grad_(False)  # one q for all data
    free = pv.VAE(
        vae.prior,
        vae.likelihood,
        pv.posteriors.PerDatum(pv.posteriors.MeanFieldNormal(torch.nn.Embedding(20, 2))),
    )
    options = dict(epochs=600, lr=3e-2, schedule="cosine", progress=False)
    pv.fit(shared, x, **options)
    pv.fit(free, x, **options)
    gain = pv.elbo(free, x, 100, index=torch.arange(20)) - pv.elbo(shared, x, 100)
    assert float(gain.mean()) > 0.1


def test_the_identity_holds_where_q_misses_the_posterior():
    """log p = ELBO + KL for a Uniform(-1, 1) guide; it is importance sampling that fails."""
    x = torch.tensor(1.0)
    evidence = float(dist.Normal(0.0, math.sqrt(2.0)).log_prob(x))
    z = torch.linspace(-1, 1, 200_001)
    step = 1e-5
    log_joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z, 1.0).log_prob(x)
    log_q = math.log(0.5)
    elbo = float(torch.trapezoid((log_joint - log_q) * 0.5, dx=step))
    posterior = dist.Normal(0.5, math.sqrt(0.5))
    divergence = float(torch.trapezoid((log_q - posterior.log_prob(z)) * 0.5, dx=step))
    assert evidence == pytest.approx(elbo + divergence, abs=1e-6)
    limit = math.log(float(torch.trapezoid(log_joint.exp(), dx=step)))
    inside = float(posterior.cdf(torch.tensor(1.0)) - posterior.cdf(torch.tensor(-1.0)))
    assert limit == pytest.approx(evidence + math.log(inside), abs=1e-6)
    assert limit < evidence - 0.1


def test_the_gaussian_is_q_of_z_given_x():
    """Of three assumptions, q(z | x) is about z: its event is the latent space."""
    vae = linear_gaussian(5, 2, 1.0)
    x = torch.randn(3, 5)
    assert vae.posterior(x).event_shape == (2,) and vae.likelihood(torch.zeros(2)).event_shape == (
        5,
    )


def test_the_divergence_is_to_the_prior():
    """KL(q(z | x) || p(z)): another prior changes it; it needs no 'normal assumption' on z | x."""
    vae = linear_gaussian(5, 2, 1.0)
    x = torch.randn(3, 5)
    before = pv.objectives.ELBO(kl="closed-form")(vae.model, vae.guide, x).kl
    vae.prior = pv.priors.Normal(2, loc=3.0)
    after = pv.objectives.ELBO(kl="closed-form")(vae.model, vae.guide, x).kl
    assert float(after) > float(before) + 1


def test_elements_of_x_are_independent_only_given_z():
    """x | z has independent elements; x does not: its covariance is W W' + sigma^2 I."""
    vae = linear_gaussian(3, 1, 0.5)
    w = vae.likelihood.decoder.layers[0].weight.detach()
    x = vae.model(batch_size=100_000).detach()
    product = (x[:, 0] - x[:, 0].mean()) * (x[:, 1] - x[:, 1].mean())
    assert abs(z_scores(product, float(w[0, 0] * w[1, 0]))) < bound(1)
    assert abs(z_scores(product, 0.0)) > bound(1)
    given = vae.likelihood(torch.ones(1)).sample((100_000,))
    product = (given[:, 0] - given[:, 0].mean()) * (given[:, 1] - given[:, 1].mean())
    assert abs(z_scores(product, 0.0)) < bound(1)
