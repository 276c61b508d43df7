"""Each estimator against exact bounds and gradients, each oracle with a twin that fails."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import (
    B,
    D,
    Exact,
    L,
    bound,
    build,
    data_for,
    linear_gaussian,
    name_of,
    pairs,
    refusal,
    z_scores,
)
from pyro import poutine
from torch import nn
from torch.nn.functional import normalize

import pyro_vae as pv
from pyro_vae.objectives import (
    ELBO,
    IWAE,
    STL,
    VIMCO,
    DReG,
    Enumeration,
    Renyi,
    ScoreFunction,
    kl_divergence,
    scale_kl,
)
from pyro_vae.objectives.kl import closed_sites
from pyro_vae.programs import traces

pytestmark = pytest.mark.usefixtures("float64")
COPIES, RUNS = 1000, 100  # 10^5 samples of a gradient


def gradients(objective, vae, x, runs=RUNS):
    """Mean gradients over many copies of the data, one row a run, for all parameters."""
    many = x.repeat(COPIES // len(x), 1)
    return pv.evaluate.gradients(vae, objective, many, runs, seed=1)


def exact_gradient(loss, vae):
    parameters = [p for p in vae.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])


def unbiased(found, exact):
    moving = found.std(0) > 1e-12
    torch.testing.assert_close(found[:, ~moving].mean(0), exact[~moving], rtol=1e-6, atol=1e-9)
    return z_scores(found[:, moving], exact[moving]).abs().max() < bound(int(moving.sum()))


# --- Continuous latents: a linear-Gaussian model, and quadrature --------------------------------


def gaussian_vae(dim=3, latent_dim=2):
    torch.manual_seed(3)
    vae = linear_gaussian(dim, latent_dim, 0.8)
    for parameter in vae.posterior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return vae, torch.randn(2, dim)


def closed_form_loss(vae, x):
    """-ELBO of a mean-field guide under a linear-Gaussian model."""
    linear, sigma = vae.likelihood.decoder.layers[0], vae.likelihood.log_scale.exp()
    q = vae.posterior(x).base_dist
    fit = torch.distributions.Normal(linear(q.loc), sigma).log_prob(x).sum(-1)
    spread = (q.scale.square() @ linear.weight.square().T).sum(-1) / (2 * sigma**2)
    kl = (q.scale**2 + q.loc**2 - 1 - 2 * q.scale.log()).sum(-1) / 2
    return -(fit - spread - kl).mean()


@pytest.mark.parametrize(
    "objective",
    [ELBO(), ELBO(kl="closed-form"), ELBO(3), STL(), STL(2), ScoreFunction(), ScoreFunction(3)],
    ids=["elbo", "elbo-kl", "elbo-3", "stl", "stl-2", "score", "score-3"],
)
def test_gradients_of_the_elbo_are_unbiased(objective):
    vae, x = gaussian_vae()
    found, exact = gradients(objective, vae, x), exact_gradient(closed_form_loss(vae, x), vae)
    assert unbiased(found, exact)
    assert not unbiased(found, 1.05 * exact + 1e-2)  # the twin


def test_a_detached_path_is_biased():
    """Planted: z without its gradient."""
    vae, x = gaussian_vae()

    def guide(x):
        with pyro.plate("data", len(x)):
            z = vae.posterior(x).sample()
            return pyro.sample("z", dist.Normal(z, 1e-9).to_event(1))

    exact = exact_gradient(closed_form_loss(vae, x), vae)
    many, parameters = x.repeat(COPIES // 2, 1), vae.parameters()
    found = pv.evaluate.gradients((vae.model, guide), ELBO(), many, 30, parameters=parameters)
    moving = found.std(0) > 0
    missing = exact[~moving]
    assert missing.abs().max() > 0.01  # the encoder's gradient is gone


def quadrature_vae():
    torch.manual_seed(5)
    vae = linear_gaussian(2, 1, 0.9)
    for parameter in vae.posterior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return vae, torch.randn(1, 2)


def quadrature(vae, x, order=0.0, nodes=801):
    """Minus the bound of two samples, by the trapezoid rule: smooth and falling, so to rounding."""
    points = torch.linspace(-9, 9, nodes)
    weights = torch.distributions.Normal(0.0, 1.0).log_prob(points).exp() * (points[1] - points[0])
    law = vae.posterior(x)
    z = law.base_dist.loc + law.base_dist.scale * points[:, None, None]  # (nodes, 1, 1)
    log_w = vae.likelihood(z).log_prob(x) + vae.prior().log_prob(z) - law.log_prob(z)
    power, log_w = 1 - order, log_w[:, 0]
    pair = torch.logaddexp(power * log_w[:, None], power * log_w) - math.log(2)
    return -(weights[:, None] * weights * pair).sum() / power


@pytest.mark.parametrize(
    "objective,order",
    [(IWAE(2), 0.0), (DReG(2), 0.0), (VIMCO(2), 0.0), (Renyi(2, 0.5), 0.5), (Renyi(2, 2.0), 2.0)],
    ids=["iwae", "dreg", "vimco", "renyi", "renyi-2"],
)
def test_gradients_of_importance_weighted_bounds_are_unbiased(objective, order):
    vae, x = quadrature_vae()
    loss = quadrature(vae, x, order)
    exact = exact_gradient(loss, vae)
    found = gradients(objective, vae, x)
    assert unbiased(found, exact)
    assert not unbiased(found, exact_gradient(closed_form_loss(vae, x), vae))  # no ELBO gradient
    with torch.no_grad():
        values = torch.stack(
            [objective(vae.model, vae.guide, x.repeat(COPIES, 1)).loss for _ in range(RUNS)]
        )
    assert abs(z_scores(values, float(loss.detach()))) < bound(1)
    assert abs(z_scores(values, float(loss.detach()) + math.log(2))) > bound(1)  # no log K


def test_stl_has_no_variance_at_the_exact_posterior():
    vae = linear_gaussian(4, 2, 0.5, posterior="full")
    exact = Exact(vae)
    exact.set_posterior(vae)
    x = exact.marginal.sample((3,))
    parameters = list(vae.posterior.parameters())

    def norms(objective):
        found = pv.evaluate.gradients(vae, objective, x, 5, parameters=parameters)
        return found.square().sum(-1).sqrt()

    assert norms(STL()).max() < 1e-8
    assert norms(DReG(3)).max() < 1e-8
    assert norms(ELBO()).min() > 1e-2  # the twin: with the score


def test_more_samples_never_loosen_the_bound():
    vae, x = gaussian_vae()
    many = x.repeat(COPIES, 1)
    with torch.no_grad():
        values = {
            k: torch.stack([-IWAE(k)(vae.model, vae.guide, many).loss for _ in range(20)])
            for k in (1, 2, 4, 16)
        }
    for fewer, more in ((1, 2), (2, 4), (4, 16)):
        error = ((values[fewer].var() + values[more].var()) / 20).sqrt()
        assert (values[more].mean() - values[fewer].mean()) / error > -bound(3)
    evidence = Exact(vae).marginal.log_prob(x).mean()
    assert values[16].mean() < evidence + 1e-2 and values[16].mean() > values[1].mean() + 0.1


@pytest.mark.parametrize("w,mu", [(0.5, 0.3), (1.0, math.pi / 2), (1.12, 0.0), (3.0, 1.0)])
def test_score_function_against_reparameterization_for_cosines(w, mu):
    """Which has the smaller variance is a matter of w: statistics in closed form."""
    count = 400_000
    loc = torch.full((count,), mu, requires_grad=True)

    def model(x):
        with pyro.plate("data", count):
            z = pyro.sample("z", dist.Normal(loc.detach(), 1.0))
            pyro.factor("x", torch.cos(w * z))

    def guide(x):
        with pyro.plate("data", count):
            pyro.sample("z", dist.Normal(loc, 1.0))

    variances = []
    for objective in (STL(), ScoreFunction(baseline="none")):
        loss = objective(model, guide, torch.zeros(count)).loss
        (gradient,) = torch.autograd.grad(loss * count, loc)
        exact = w * math.sin(w * mu) * math.exp(-(w**2) / 2)
        assert abs(z_scores(gradient, exact)) < bound(2)
        squares = (gradient - exact) ** 2
        variances.append((squares.mean(), squares.var() / count))
    (path, e1), (score, e2) = variances
    difference = (w**2 - 1 + (3 * w**2 - 1) * math.cos(2 * w * mu) * math.exp(-2 * w**2)) / 2
    z = (path - score - difference) / (e1 + e2).sqrt()
    assert abs(z) < bound(1)
    assert abs((path - score + difference + 0.02) / (e1 + e2).sqrt()) > bound(1)  # the twin


# --- Discrete latents: everything is a sum ------------------------------------------------------


def bits_vae(likelihood="gaussian"):
    torch.manual_seed(2)
    recipe = ({"kind": "bernoulli", "learned": True}, {"kind": likelihood}, {"kind": "bernoulli"})
    vae, x = build(recipe)
    return vae.double(), data_for(likelihood, 1)


def states_of(vae, x):
    q = vae.posterior(x)
    z = q.enumerate_support()
    return z, q.log_prob(z), vae.prior().log_prob(z) + vae.likelihood(z).log_prob(x)


@pytest.mark.parametrize("baseline", ["average", "neural", "none"])
@pytest.mark.parametrize("particles", [1, 3])
def test_score_function_gradients_are_unbiased(baseline, particles):
    vae, x = bits_vae()
    z, log_q, log_p = states_of(vae, x)
    exact = exact_gradient(-(log_q.exp() * (log_p - log_q)).sum(), vae)
    objective = ScoreFunction(particles, baseline, (D,)).double()
    found = gradients(objective, vae, x, runs=60)
    assert unbiased(found, exact)
    assert not unbiased(found, -exact)


def test_enumeration_is_exact():
    vae, x = bits_vae()
    z, log_q, log_p = states_of(vae, x)
    loss = Enumeration()(vae.model, vae.guide, x).loss
    exact = -(log_q.exp() * (log_p - log_q)).sum()
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(exact_gradient(loss, vae), exact_gradient(exact, vae))
    evidence = log_p.logsumexp(0)
    assert (-loss < evidence).all()
    torch.testing.assert_close(pv.log_marginal(vae, x).log_marginal, evidence.detach())


def test_vimco_gradients_are_unbiased():
    vae, x = bits_vae()
    _, log_q, log_p = states_of(vae, x)
    log_q, log_w = log_q[:, 0], (log_p - log_q)[:, 0]
    pair = torch.logaddexp(log_w[:, None], log_w) - math.log(2)
    exact = -((log_q[:, None] + log_q).exp() * pair).sum()
    exact = exact_gradient(exact, vae)
    found = gradients(VIMCO(2), vae, x, runs=60)
    assert unbiased(found, exact)
    _, log_q, log_p = states_of(vae, x)
    elbo = exact_gradient(-(log_q.exp() * (log_p - log_q)).sum(), vae)
    assert not unbiased(found, elbo)


def test_baselines_cut_the_variance():
    vae, x = bits_vae()
    spread = {}
    for baseline in ("none", "average"):
        found = gradients(ScoreFunction(1, baseline), vae, x, runs=40)
        spread[baseline] = float(found.var(0).sum())
    assert spread["average"] < 0.8 * spread["none"]


def test_baselines_survive_ragged_batches_and_resume(tmp_path):
    """Their state is in checkpoints: a training that is cut goes on bit for bit."""
    torch.set_default_dtype(torch.float32)
    triple = ({"kind": "bernoulli"}, {"kind": "gaussian"}, {"kind": "bernoulli"})
    x = data_for("gaussian", 50)
    options = dict(batch_size=16, estimator="score-function", baseline="neural", progress=False)
    whole = build(triple)[0]
    cut, again = copy.deepcopy(whole), copy.deepcopy(whole)
    pv.fit(whole, x, epochs=4, **options)
    pv.fit(cut, x, epochs=2, out=tmp_path, **options)
    pv.fit(again, x, epochs=4, out=tmp_path, resume=True, **options)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


# --- KL terms -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", ["diagonal", "low-rank", "full"])
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


# --- Evidence ------------------------------------------------------------------------------------


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


# --- Scales, masks and plates -------------------------------------------------------------------


@pytest.mark.parametrize(
    "objective",
    [IWAE(4), DReG(4), VIMCO(4), Renyi(4, 0.5), STL(4), ScoreFunction(4)],
    ids=lambda o: type(o).__name__,
)
def test_scales_stay_outside_of_logarithms(objective):
    """N / B by a handler or by a subsampling plate multiplies the bound, and nothing else."""
    vae, x = gaussian_vae()

    def loss(scale=None, mask=None):
        torch.manual_seed(1)
        handlers = [poutine.scale(scale=scale)] if scale else []
        handlers += [poutine.mask(mask=mask)] if mask is not None else []
        model, guide = vae.model, vae.guide
        for handler in handlers:
            model, guide = handler(model), handler(guide)
        with torch.no_grad():
            return float(copy.deepcopy(objective).eval()(model, guide, x).loss)

    assert loss(scale=10.0) == pytest.approx(10 * loss(), rel=1e-10)
    rows = torch.tensor([True, False])
    first, none = loss(mask=rows), loss(mask=~rows)
    assert first + none == pytest.approx(loss(), rel=1e-10)


def test_subsampling_plates_scale_the_bound():
    vae, x = gaussian_vae()
    data = torch.randn(20, 3)

    def program(site):
        def run(x, index=None):
            with pyro.plate("data", 20, subsample=torch.arange(4)):
                return site(data[:4])

        return run

    def model(batch):
        z = pyro.sample("z", vae.prior())
        pyro.sample("x", vae.likelihood(z), obs=batch)

    def guide(batch):
        pyro.sample("z", vae.posterior(batch))

    torch.manual_seed(1)
    scaled = IWAE(8)(program(model), program(guide), data[:4]).loss
    torch.manual_seed(1)
    plain = IWAE(8)(vae.model, vae.guide, data[:4]).loss
    torch.testing.assert_close(scaled, 5 * plain)


def test_what_has_no_weights_by_datum_is_refused():
    vae, x = gaussian_vae()
    with scale_kl(0.5), pytest.raises(ValueError, match="one scale for all sites under IWAE"):
        IWAE(2)(vae.model, vae.guide, x)

    def model(x):
        pyro.sample("shared", dist.Normal(0.0, 1.0))
        vae.model(x)

    def guide(x):
        pyro.sample("shared", dist.Normal(0.0, 1.0))
        vae.guide(x)

    with pytest.raises(ValueError, match="every site in one plate of data"):
        IWAE(2)(model, guide, x)


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


# --- What bends the KL term ---------------------------------------------------------------------


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


@pytest.mark.parametrize("rate", [0.05, 0.5, 2.0])
def test_the_committed_rate_is_kept(rate):
    posterior = pv.posteriors.CommittedRateNormal(nn.Identity(), rate)
    q = posterior(torch.randn(10_000, 6) * 5)
    kl = torch.distributions.kl_divergence(q.base_dist, dist.Normal(0.0, 1.0))
    assert float(kl.min()) > rate - 1e-9
    assert float(kl.min()) < rate + 0.2  # it is no more than that
    for root in (posterior.low, posterior.high):
        assert abs((root**2 - 1) / 2 - math.log(root) - rate) < 1e-9


def test_schedules_reach_the_training():
    torch.set_default_dtype(torch.float32)
    triple = (
        {"kind": "relaxed-bernoulli"},
        {"kind": "gaussian"},
        {"kind": "relaxed-bernoulli"},
    )
    vae, _ = build(triple)
    x = data_for("gaussian", 40)
    history = pv.fit(
        vae,
        x,
        epochs=8,
        batch_size=10,
        progress=False,
        final_temperature=0.1,
        temperature_epochs=4,
        kl_warmup_epochs=8,
        kl_cycles=2,
    )
    assert float(vae.posterior.temperature) == pytest.approx(0.1)
    weights = history["kl_weight"]
    assert weights[3] == 1.0 and weights[4] < 1.0 and weights[-1] == 1.0


def test_relaxed_families_are_evaluated_on_their_discrete_twin():
    triple = (
        {"kind": "relaxed-bernoulli"},
        {"kind": "gaussian"},
        {"kind": "relaxed-bernoulli"},
    )
    vae, x = build(triple)
    twin = pv.VAE(
        pv.priors.Bernoulli(L), vae.likelihood, pv.posteriors.Bernoulli(vae.posterior.encoder)
    )
    z, _, log_p = states_of(twin, x)
    torch.testing.assert_close(pv.log_marginal(vae, x).log_marginal, log_p.logsumexp(0).detach())


def test_optimal_sigma_is_that_of_the_residuals():
    torch.set_default_dtype(torch.float32)
    vae, _ = build(
        (
            {"kind": "standard-normal"},
            {"kind": "gaussian", "sigma": "optimal"},
            {"kind": "mean-field-normal"},
        )
    )
    x = 0.3 * data_for("gaussian", 400)
    pv.fit(vae, x, epochs=200, batch_size=100, lr=3e-3, schedule="cosine", progress=False)
    before = vae.likelihood.log_scale.clone()
    with torch.no_grad():
        z = vae.posterior(x).sample((200,))
        residual = (x - vae.likelihood(z).mean).square().mean()
    assert float((2 * before).exp()) == pytest.approx(float(residual), rel=0.05)
    pv.log_marginal(vae, x, 10)
    assert torch.equal(vae.likelihood.log_scale, before)  # frozen in evaluation


# --- The planner and the derivation -------------------------------------------------------------

ALLOWED = [triple for triple in pairs() if refusal(triple) is None]


@pytest.mark.parametrize("triple", ALLOWED, ids=name_of)
def test_the_printed_formula_is_the_loss(triple):
    vae, x = build(triple)
    rows = torch.arange(B)
    derivation = pv.explain(vae, x)
    assert derivation.plan.why in derivation.text and r"\log p(x" in derivation.latex
    if derivation.plan.estimator == "enumeration":
        return
    torch.manual_seed(3)
    objective = derivation.plan.objective.eval()
    loss = float(objective(vae.model, vae.guide, x, index=rows).loss.detach())
    value = derivation.evaluate(x, seed=3, index=rows)
    assert value == pytest.approx(loss, rel=1e-6, abs=1e-8)


def test_the_printed_bound_of_many_samples_is_the_loss():
    vae, x = gaussian_vae()
    for estimator, alpha in (("iwae", 0.0), ("renyi", 0.5), ("stl", 0.0)):
        derivation = pv.explain(vae, x, estimator=estimator, num_particles=5, alpha=alpha)
        torch.manual_seed(3)
        loss = float(derivation.plan.objective(vae.model, vae.guide, x).loss.detach())
        assert derivation.evaluate(x, seed=3) == pytest.approx(loss, rel=1e-6)


def test_derivations_say_where_squared_error_comes_from():
    vae, x = gaussian_vae()
    text = pv.explain(vae, x).text
    assert "sigma^2 = 1/2" in text and "sigma^2 = D/2" in text
    assert "standard deviation, never a variance" in text


REFUSALS = [
    ("standard-normal", "bernoulli", {}, "support inside the prior's"),
    ("bernoulli", "mean-field-normal", {}, "support inside the prior's"),
    ("bernoulli", "relaxed-bernoulli", {}, "support inside the prior's"),
    ("standard-normal", "relaxed-bernoulli", {}, "a density for a probability"),
    ("hypersphere-uniform", "mean-field-normal", {}, "support inside the prior's"),
    ("bernoulli", "bernoulli", {"estimator": "reparameterized"}, "no gradient flows"),
    ("bernoulli", "bernoulli", {"estimator": "stl"}, "no gradient flows"),
    ("standard-normal", "delta", {"estimator": "iwae"}, "AIS from the prior"),
    ("standard-normal", "delta", {"estimator": "score-function"}, "AIS from the prior"),
    ("standard-normal", "mean-field-normal", {"estimator": "enumeration"}, "can be listed"),
    ("standard-normal", "mean-field-normal", {"estimator": "iwae", "kl_weight": 0.5}, "KL weight"),
    ("standard-normal", "mean-field-normal", {"estimator": "vimco"}, "at least 2 particles"),
    ("standard-normal", "mean-field-normal", {"estimator": "stl", "free_bits": 1.0}, "free bits"),
    ("standard-normal", "mean-field-normal", {"estimator": "elbo"}, "Expected an estimator"),
]


@pytest.mark.parametrize("prior,posterior,options,words", REFUSALS)
def test_unsound_choices_are_refused(prior, posterior, options, words):
    vae, x = build(({"kind": prior}, {"kind": "gaussian"}, {"kind": posterior}))
    with pytest.raises(ValueError, match=words):
        pv.plan(vae, x, **options)


def test_a_point_has_no_evidence():
    vae, x = build(({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "delta"}))
    with pytest.raises(ValueError, match="use AIS from the prior"):
        pv.log_marginal(vae, x, 10)


def test_rows_that_were_not_trained_are_refused():
    vae, x = build(({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "per-datum"}))
    with pytest.raises(ValueError, match="Expected row numbers of training data"):
        pv.elbo(vae, x)
    with pytest.raises(ValueError, match="row numbers, below 8"):
        pv.elbo(vae, x, index=torch.arange(B) + 1)
    with pytest.raises(ValueError, match="no validation data"):
        pv.fit(vae, x, valid=x, progress=False)


def test_free_parameters_for_every_datum_reach_the_exact_posterior():
    """Classical SVI: no amortization gap, so the bound is the closed form's best."""
    vae = linear_gaussian(4, 2, 0.6)
    exact = Exact(vae)
    x = exact.marginal.sample((30,))
    vae.posterior = pv.posteriors.PerDatum(
        pv.posteriors.FullCovarianceNormal(nn.Embedding(30, 5), 2)
    )
    vae.likelihood.requires_grad_(False)
    pv.fit(vae, x, epochs=1000, lr=5e-2, schedule="cosine", estimator="stl", progress=False)
    bound_ = pv.elbo(vae, x, 200, index=torch.arange(30))
    gap = exact.marginal.log_prob(x) - bound_
    assert float(gap.mean()) < 1e-4
