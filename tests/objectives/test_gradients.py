"""Each estimator against exact bounds and gradients, each oracle with a twin that fails."""

import copy
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from checks import (
    D,
    Exact,
    bound,
    build,
    data_for,
    gaussian_vae,
    linear_gaussian,
    states_of,
    z_scores,
)

import pyro_vae as pv
from pyro_vae.objectives import ELBO, IWAE, STL, VIMCO, DReG, Enumeration, Renyi, ScoreFunction
from pyro_vae.programs import weigh

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


def test_vimco_leaves_each_weight_out_by_the_mean_of_the_others():
    log_w = torch.randn(4, 3)
    found = VIMCO(4).without_each(log_w)
    for k in range(4):
        others = log_w.clone()
        others[k] = torch.cat([log_w[:k], log_w[k + 1 :]]).mean(0)
        torch.testing.assert_close(found[k], others.exp().mean(0).log())


def test_a_neural_baseline_learns_by_its_squared_error_alone():
    vae, x = bits_vae()
    x = x.repeat(20, 1)
    objective = ScoreFunction(1, "neural", x.shape[1:]).double().eval()
    parameters = list(objective.baseline.net.parameters())
    torch.manual_seed(1)
    found = torch.autograd.grad(objective(vae.model, vae.guide, x).loss, parameters)
    torch.manual_seed(1)
    w = weigh(vae.model, vae.guide, x, 1, gradient="score")
    target = (w.model - w.guide).detach()
    error = (target - objective.baseline(x, target)).square().mean()
    torch.testing.assert_close(found, torch.autograd.grad(error, parameters))


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
