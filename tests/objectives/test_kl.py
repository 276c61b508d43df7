"""Divergences in closed form, free bits and capacities."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import Exact, bound, build, gaussian_vae, linear_gaussian, z_scores
from torch.nn.functional import normalize

import pyro_vae as pv
from pyro_vae.objectives import ELBO, kl_divergence
from pyro_vae.objectives.kl import closed_sites
from pyro_vae.programs import traces

pytestmark = pytest.mark.usefixtures("float64")


def test_elementwise_divergences_against_quadrature():
    """10^4 random parameters; never negative."""
    count = 10_000
    t = torch.linspace(-math.pi / 2, math.pi / 2, 4001)[1:-1, None]
    for family in (dist.Normal, dist.Laplace):
        for start in range(0, count, 1000):
            m, s = torch.randn(2, 1000), torch.rand(2, 1000) * 2 + 0.2
            q, p = family(m[0], s[0]), family(m[1], s[1])
            z = m[0] + s[0] * torch.tan(t)
            log_q = q.log_prob(z)
            integrand = log_q.exp() * (log_q - p.log_prob(z)) * s[0] / torch.cos(t) ** 2
            exact = kl_divergence(q, p)
            assert (torch.trapezoid(integrand, t, dim=0) - exact).abs().max() < 1e-3
            assert (exact >= -1e-12).all()


def gaussians(kind, count, size):
    loc, scale = torch.randn(count, size), torch.rand(count, size) + 0.3
    if kind == "diagonal":
        return dist.Normal(loc, scale).to_event(1)
    factor = torch.randn(count, size, 2)
    if kind == "low-rank":
        return dist.LowRankMultivariateNormal(loc, factor, scale)
    return dist.MultivariateNormal(loc, factor @ factor.mT + scale.diag_embed())


@pytest.mark.parametrize(
    "kind", ["diagonal", "low-rank", pytest.param("full", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("draws", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_gaussian_divergences_against_samples(kind, draws):
    """100 random parameters; never negative, and 10^4 more by their general form."""
    q, p = gaussians(kind, 100, 3), gaussians("diagonal", 100, 3)
    exact = kl_divergence(q, p)
    total, square = torch.zeros(100), torch.zeros(100)
    for _ in range(draws // 10_000):
        z = q.sample((10_000,))
        ratio = q.log_prob(z) - p.log_prob(z)
        total, square = total + ratio.sum(0), square + (ratio**2).sum(0)
    mean = total / draws
    error = ((square / draws - mean**2) / draws).sqrt()
    assert ((mean - exact) / error).abs().max() < bound(100)
    assert ((mean - exact - 0.05) / error).abs().max() > bound(100)  # the twin
    q, p = gaussians(kind, 10_000, 3), gaussians("diagonal", 10_000, 3)
    covariance = q.variance.diag_embed() if kind == "diagonal" else q.covariance_matrix
    reference = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(q.mean, covariance),
        torch.distributions.MultivariateNormal(p.mean, p.variance.diag_embed()),
    )
    torch.testing.assert_close(kl_divergence(q, p), reference, rtol=1e-7, atol=1e-8)
    assert (kl_divergence(q, p) >= 0).all()


def test_discrete_and_spherical_divergences_against_sums_and_samples():
    q = pv.distributions.OneHots(torch.randn(100, 6), 3)
    p = pv.distributions.OneHots(torch.randn(6), 3)
    z = q.enumerate_support()
    log_q = q.log_prob(z)
    torch.testing.assert_close(kl_divergence(q, p), (log_q.exp() * (log_q - p.log_prob(z))).sum(0))
    q = pv.distributions.IndependentBernoulli(torch.randn(100, 4))
    p = pv.distributions.IndependentBernoulli(torch.randn(4))
    z = q.enumerate_support()
    log_q = q.log_prob(z)
    torch.testing.assert_close(kl_divergence(q, p), (log_q.exp() * (log_q - p.log_prob(z))).sum(0))
    q = pv.distributions.VonMisesFisher(
        normalize(torch.randn(20, 5), dim=-1), torch.logspace(-1, 2.5, 20)
    )
    p = pv.distributions.HypersphereUniform(torch.zeros(5))
    z = q.sample((20_000,))
    assert z_scores(q.log_prob(z) - p.log_prob(z), kl_divergence(q, p)).abs().max() < bound(20)


def test_unknown_divergences_are_said():
    vae, x = build(({"kind": "gaussian-mixture"}, {"kind": "gaussian"}, {"kind": "laplace"}))
    assert "no closed-form KL is known for Laplace against Mixture" in pv.plan(vae, x).why


def test_closed_form_terms_want_what_the_prior_is_given_first():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Normal(a, 0.5))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Normal(x, 1.0))
            pyro.sample("a", dist.Normal(2 * b, 0.5))

    x = torch.zeros(5)
    q, p = traces(model, guide, x, 1)
    assert closed_sites(q, p) == {"a": True, "b": False}


def test_free_bits_and_capacity_change_the_loss_as_they_say():
    vae, x = gaussian_vae()

    def loss(**options):
        torch.manual_seed(1)
        return ELBO(kl="closed-form", **options)(vae.model, vae.guide, x)

    plain = loss()
    q = vae.posterior(x).base_dist
    features = ((q.scale**2 + q.loc**2 - 1 - 2 * q.scale.log()) / 2).mean(0)
    level = float(features.mean().detach())
    bits = loss(free_bits=level).loss - plain.loss
    torch.testing.assert_close(bits, features.clamp(min=level).sum() - features.sum())
    assert float(bits.detach()) > 0
    capacity = loss(capacity=5.0).loss - plain.loss
    torch.testing.assert_close(capacity, (plain.kl - 5.0).abs() - features.sum())
    with pytest.raises(ValueError, match="free bits or capacity"):
        ELBO(free_bits=0.1, capacity=1.0)
    triple = ({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "iaf"})
    vae, x = build(triple)
    with pytest.raises(ValueError, match="factorize over latent features"):
        pv.plan(vae, x, free_bits=0.1)


def test_training_reaches_the_capacity():
    torch.set_default_dtype(torch.float32)
    vae = linear_gaussian(5, 2, 0.5).float()
    x = Exact(vae).marginal.sample((200,))
    options = dict(epochs=300, batch_size=200, lr=2e-2, progress=False)
    history = pv.fit(vae, x, capacity=1.5, kl_weight=20.0, capacity_epochs=50, **options)
    assert abs(history["kl"][-1] - 1.5) < 0.1
    assert history["kl_weight"][-1] == 20.0
