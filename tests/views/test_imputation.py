"""Completed data against exact conditional distributions, each beside a twin that has to fail."""

import math
import warnings

import pyro.distributions as dist
import pytest
import torch
from checks import bound, z_scores
from ppca import HS, NAN, conditionals, linear, ppca, tril_outputs
from torch import nn
from torch.distributions import MultivariateNormal

import pyro_vae as pv
from pyro_vae.programs import traces
from pyro_vae.views import gibbs

pytestmark = pytest.mark.usefixtures("float64")
few = pytest.mark.filterwarnings("ignore:Not to be trusted")  # by so few steps
N, F = pv.posteriors.MeanFieldNormal, pv.posteriors.FullCovarianceNormal


class Filled(nn.Module):
    """Zeros for what is not there: a guide that is right for whole data alone."""

    def forward(self, x):
        return torch.nan_to_num(x)


def always(log_ratio):
    """The twin: pseudo-Gibbs, which accepts every proposal."""
    return torch.ones_like(log_ratio, dtype=torch.bool)


def off(draws, mean, covariance=None):
    """The largest |z| of means, and of covariances where these are known."""
    z = [z_scores(draws, mean)]
    if covariance is not None:
        rest = draws - mean
        products = rest[:, :, None] * rest[:, None, :]
        z.append(z_scores(products, covariance).flatten())
    return float(torch.cat(z).abs().max())


def worst(found, x, moments):
    values = [0.0]
    for i, (mean, covariance) in enumerate(moments):
        holes = x[i].isnan()
        if holes.any():
            values.append(off(found.draws[:, i][:, holes], mean, covariance))
    return max(values)


# --- Probabilistic PCA --------------------------------------------------------------------------


def test_imputed_data_have_their_conditional_moments():
    vae, x, law = ppca(widen=1.3)
    _, moments = conditionals(law, x)
    found = pv.impute(vae, x, 2000, num_particles=10_000)
    assert float(found.khat.max()) < 0.7 and float(found.ess.min()) > 1000
    assert found.trusted.all() and found.reason.startswith("All 7 data with holes have k-hat <=")
    naive = traces(vae.model, vae.guide, x, 10_000)[1]["x"]["fn"].mean.detach()  # without weights
    spread = 0.0
    for i, (mean, covariance) in enumerate(moments):
        holes = x[i].isnan()
        if not holes.any():
            torch.testing.assert_close(found.mean[i], x[i])
            continue
        draws = found.draws[:, i][:, holes]
        assert off(draws, mean, covariance) < 1.5 * bound(150)  # particles come again
        unweighted = torch.cov(naive[:, i][:, holes].T).reshape(covariance.shape)
        unweighted = unweighted + HS**2 * torch.eye(len(unweighted))
        scale = covariance.diagonal().max()
        spread = max(spread, float((unweighted - covariance).abs().max() / scale))
    assert spread > 0.3  # draws by a guide that is too wide, and not weighed


@few
def test_gibbs_draws_the_conditional_moments(monkeypatch):
    vae, x, law = ppca(widen=1.7)
    x = x[:5]
    _, moments = conditionals(law, x)
    options = {"method": "gibbs", "num_particles": 300, "num_steps": 60}
    found = pv.impute(vae, x, 800, **options)
    assert worst(found, x, moments) < bound(100)
    assert 0.2 < float(found.acceptance.min()) and float(found.acceptance.max()) < 0.9
    there = ~x.isnan()
    assert found.draws[:, there].eq(x[there]).all()
    monkeypatch.setattr(gibbs, "accepted", always)
    assert worst(pv.impute(vae, x, 800, **options), x, moments) > 1.5 * bound(100)


@few
def test_an_exact_guide_is_always_accepted():
    vae, x, _ = ppca()
    found = pv.impute(vae, x, 50, method="gibbs", num_particles=30, num_steps=10)
    assert float(found.acceptance.min()) > 0.999


@few
def test_nuts_draws_the_conditional_moments():
    vae, x, law = ppca(widen=3.0)
    x = torch.stack([x[1], x[3]])
    _, moments = conditionals(law, x)
    found = pv.impute(vae, x, 200, method="nuts", num_steps=200)
    mean, covariance = moments[1]
    draws = found.draws[:, 1][:, x[1].isnan()]
    again = (200 / float(found.ess[1])) ** 0.5  # draws that depend on each other
    assert off(draws, mean, covariance) < again * bound(20)
    assert found.draws[:, 0].eq(x[0]).all() and found.trusted[0] and float(found.rhat[1]) < 1.1
    assert found.khat.isnan().all() and found.acceptance.isnan().all()


# --- Other models -------------------------------------------------------------------------------


@few
def test_gibbs_over_discrete_latent_variables(monkeypatch):
    logits = torch.tensor([[2.0, -2.0, 1.0], [-1.0, 2.0, 2.0], [-2.0, -1.0, -2.0]])
    bits = pv.likelihoods.Bernoulli(linear(logits.T))
    guide = nn.Sequential(Filled(), linear(0.7 * logits))
    vae = pv.VAE(
        pv.priors.Categorical(3),
        pv.likelihoods.MissingAtRandom(bits),
        pv.posteriors.Categorical(guide, 3),
    )
    x = torch.tensor([[1.0, NAN, NAN], [NAN, 0.0, 1.0]])
    there = torch.where(
        x.isnan(), 0.0, dist.Bernoulli(logits=logits[:, None]).log_prob(x.nan_to_num())
    )
    posterior = there.sum(-1).softmax(0)  # (3, 2)
    exact = torch.einsum("zb,zd->bd", posterior, logits.sigmoid())
    both = (posterior[:, 0] * logits.sigmoid()[:, 1] * logits.sigmoid()[:, 2]).sum()

    def off():
        found = pv.impute(vae, x, 4000, method="gibbs", num_particles=4, num_steps=20)
        first, second = found.draws[:, 0, 1:], found.draws[:, 1, :1]
        z = torch.cat(
            [
                z_scores(first, exact[0, 1:]),
                z_scores(second, exact[1, :1]),
                z_scores(first.prod(1), both)[None],
            ]
        )
        return float(z.abs().max())

    assert off() < bound(4)
    monkeypatch.setattr(gibbs, "accepted", always)
    assert off() > 2 * bound(4)


@few
def test_gibbs_over_two_latent_sites(monkeypatch):
    a, w, s1, sx = torch.tensor([[1.0], [-0.5]]), torch.randn(4, 2), 0.7, 0.5
    inner = a @ a.T + s1**2 * torch.eye(2)
    law = MultivariateNormal(torch.zeros(4), w @ inner @ w.T + sx**2 * torch.eye(4))
    c1 = torch.linalg.inv(torch.linalg.inv(inner) + w.T @ w / sx**2)
    c2 = 1 / (1 + a.T @ a / s1**2)
    vae = pv.VAE(
        pv.Sites(z2=pv.priors.StandardNormal(1), z1=N(linear(a, [math.log(s1)] * 2)).given("z2")),
        pv.likelihoods.MissingAtRandom(pv.likelihoods.Gaussian(linear(w), "fixed", sx)).given(
            "z1"
        ),
        pv.Sites(
            z1=F(nn.Sequential(Filled(), linear(c1 @ w.T / sx**2, tril_outputs(2.5 * c1))), 2),
            z2=N(linear(c2 * a.T / s1**2, [math.log(1.3 * float(c2) ** 0.5)])).given("z1"),
        ),
    )
    x = law.sample((2,))
    x[0, [0, 2]] = x[1, 1:] = NAN
    _, moments = conditionals(law, x)
    options = {"method": "gibbs", "num_particles": 30, "num_steps": 60}
    assert worst(pv.impute(vae, x, 1000, **options), x, moments) < bound(30)
    monkeypatch.setattr(gibbs, "accepted", always)
    assert worst(pv.impute(vae, x, 1000, **options), x, moments) > 1.5 * bound(30)


class Wide(pv.base.Likelihood):
    """A second observation whose spread, not its place, depends on z."""

    def __init__(self):
        nn.Module.__init__(self)
        self.event_dim = 1

    def forward(self, z):
        return dist.Normal(torch.zeros_like(z), (2 * z).exp()).to_event(1)


@few
@pytest.mark.parametrize("method", ["sir", "gibbs"])
def test_sites_that_are_not_observed_do_not_weigh_imputed_data(method):
    class Exact(nn.Module):
        def forward(self, x):
            v = 1 / (1 + 4 * (~x.isnan()).sum(-1, keepdim=True))
            return torch.cat([4 * v * x.nansum(-1, keepdim=True), v.log() / 2], -1)

    x = pv.likelihoods.MissingAtRandom(
        pv.likelihoods.Gaussian(linear(torch.ones(2, 1)), "fixed", 0.5)
    )
    vae = pv.VAE(pv.priors.StandardNormal(1), pv.Sites(x=x, w=Wide().given("z")), N(Exact()))
    steps = {"num_particles": 50_000} if method == "sir" else {"num_steps": 20}
    count = 10 if method == "sir" else 4000
    data = torch.tensor([[1.0, NAN]])
    found = pv.impute(vae, data, count, method=method, **steps)
    assert float(found.mean[0, 1]) == pytest.approx(0.8, abs=0.01 if method == "sir" else 0.03)
    if method == "gibbs":
        longer = pv.impute(vae, data, 8, method=method, num_steps=150)
        assert (
            longer.trusted.all() and "R-hat <= 1.05 and ESS >= 100: R-hat up to" in longer.reason
        )


# --- What is not silently wrong -----------------------------------------------------------------


def hidden(payload):
    """NaN, with other bits inside."""
    return torch.tensor(0x7FF8000000000000 + payload).view(torch.float64)


@few
@pytest.mark.parametrize("method", ["sir", "gibbs"])
def test_what_a_hole_hides_changes_nothing(method):
    vae, x, _ = ppca()
    other = torch.where(x.isnan(), hidden(12345), x)
    first, second = (
        pv.impute(vae, rows, 5, method=method, num_particles=500, num_steps=8)
        for rows in (x, other)
    )
    assert other.view(torch.int64).ne(x.view(torch.int64)).any()
    assert first.draws.eq(second.draws).all() and first.mean.eq(second.mean).all()


@few
@pytest.mark.parametrize("method", ["sir", "gibbs", "nuts"])
def test_what_is_there_stays_to_the_bit(method):
    vae, x, _ = ppca()
    x = x[:3] / 3  # numbers that a mean of copies would round
    found = pv.impute(vae, x, 3, method=method, num_particles=99, num_steps=8)
    there = ~x.isnan()
    assert found.mean[there].eq(x[there]).all() and found.draws[:, there].eq(x[there]).all()


def test_weights_that_say_nothing_are_told():
    vae, x, _ = ppca(widen=8.0)
    with pytest.warns(
        UserWarning, match="Not to be trusted for .* of 7 data with holes.*method='gibbs'"
    ):
        found = pv.impute(vae, x, 10, num_particles=100)
    assert not found.trusted.all() and found.trusted[1]  # a whole datum
    with pytest.warns(UserWarning, match=r"R-hat <= 1.05.*acceptance from 0\.\d\d.*num_steps"):
        pv.impute(vae, x, 1, method="gibbs", num_particles=5, num_steps=10)
    whole = torch.nan_to_num(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pv.impute(vae, whole, 2, num_particles=10).reason == "No element is missing."


class Own(N):
    """A posterior that says that it knows the density of its own draws alone."""

    density = "own samples"


def test_methods_that_do_not_go_are_refused():
    vae, x, _ = ppca()
    encoder = nn.Sequential(pv.nn.Observed(), pv.nn.MLP(12, [4], 4))
    own = pv.VAE(vae.prior, vae.likelihood, Own(encoder))
    point = pv.VAE(
        vae.prior,
        vae.likelihood,
        pv.posteriors.Delta(nn.Sequential(Filled(), pv.nn.MLP(6, [4], 2))),
    )
    discrete = pv.VAE(
        pv.priors.Categorical(3),
        pv.likelihoods.MissingAtRandom(pv.likelihoods.Gaussian(pv.nn.MLP(3, [4], 6))),
        pv.posteriors.Categorical(nn.Sequential(Filled(), pv.nn.MLP(6, [4], 3)), 3),
    )
    for model, options, words in [
        (vae, {"method": "mice"}, "Expected method 'sir', 'gibbs' or 'nuts'; got 'mice'"),
        (vae, {"method": "gibbs", "num_steps": 3}, "Expected num_steps of at least 8.*got 3"),
        (own, {"method": "gibbs"}, "density is available anywhere.*got Own"),
        (point, {}, "Expected a posterior with a density.*got Delta, a point"),
        (
            discrete,
            {"method": "nuts"},
            "Expected continuous latent variables.*Take method='gibbs'",
        ),
    ]:
        with pytest.raises(ValueError, match=words):
            pv.impute(model, x, 2, **options)


# --- Intervals -----------------------------------------------------------------------------------


def decoded(vae, x):
    """The twin: draws around one decoded z, which leave out that z is not known."""
    with torch.no_grad():
        return vae.likelihood(vae.posterior(x).mean).sample((19,))


@few
@pytest.mark.parametrize("method", ["sir", "gibbs"])
def test_between_nineteen_draws_lie_nine_truths_in_ten(method):
    """Of cells that a trained model has drawn itself, by the order of exchangeable draws."""
    encoder = nn.Sequential(pv.nn.Observed(), pv.nn.MLP(12, [16], 4))
    gaussian = pv.likelihoods.Gaussian(pv.nn.MLP(2, [16], 6), "fixed", 0.4)
    vae = pv.VAE(pv.priors.StandardNormal(2), pv.likelihoods.MissingAtRandom(gaussian), N(encoder))
    data = torch.randn(500, 2) @ torch.randn(2, 6) + 0.4 * torch.randn(500, 6)
    data[torch.rand(500, 6) < 0.5] = NAN
    pv.fit(vae, data, epochs=8, lr=1e-2, estimator="iwae", num_particles=5, progress=False)
    truth = pv.sample(vae, 500, "sample", seed=1)
    holes = torch.rand_like(truth) < 0.5
    x = truth.masked_fill(holes, NAN)

    def share(draws):
        inside = (draws.min(0).values <= truth) & (truth <= draws.max(0).values) & holes
        return pv.evaluate.Mean.ratio(inside.double().sum(1), holes.double().sum(1), "of cells")

    found = share(pv.impute(vae, x, 19, method=method, num_particles=400, num_steps=60).draws)
    assert abs(float(found) - 0.9) < bound(2) * found.se + 0.01  # chains and weights are finite
    twin = share(decoded(vae, x))
    assert float(twin) < 0.9 - 2 * bound(2) * twin.se - 0.01
