"""Every density sums or integrates to one, and is the law of its own samples."""

import math
from importlib import import_module

import pytest
import torch
from checks import bound, data_for, recipe_for, variants, z_scores
from scipy.special import ive
from torch.autograd.functional import jacobian
from torch.distributions.constraints import boolean
from torch.nn.functional import normalize

import pyro_vae as pv
from pyro_vae.config import REGISTRY
from pyro_vae.data import as_split
from pyro_vae.distributions import ContinuousBernoulli, HypersphereUniform, VonMisesFisher
from pyro_vae.distributions.sphere import log_surface

pytestmark = pytest.mark.usefixtures("float64")
COUNT = 10_000  # random parameters

likelihoods = [kind for kind in variants("likelihood") if kind["kind"] != "product"]
real_priors = [
    kind
    for kind in variants("prior")
    if REGISTRY["prior"][kind["kind"]].support in ("the real numbers", "the posterior's")
]
real_posteriors = [
    kind
    for kind in variants("posterior")
    if REGISTRY["posterior"][kind["kind"]].support == "the real numbers"
    and kind["kind"] not in ("delta", "per-datum")
]


def name(kind):
    return "+".join(map(str, kind.values()))


def law_of(kind, outputs):
    """The law of single elements under a likelihood whose decoder gives `outputs`."""
    module, _, cls = REGISTRY["likelihood"][kind["kind"]].target.rpartition(".")
    options = {key: value for key, value in kind.items() if key != "kind"}
    family = getattr(import_module(module), cls)(torch.nn.Identity(), **options)
    return family(outputs).base_dist, family.support


def total_mass(law, support):
    """The mass of each element: a sum over values, or a trapezoid rule after a substitution."""
    if support.is_discrete:
        x = torch.arange(
            float(getattr(support, "upper_bound", 1 if support is boolean else 3000)) + 1
        ).reshape(-1, 1, 1)
        return law.log_prob(x).logsumexp(0).exp()
    if type(support).__name__ == "_Real":  # x = centre + tan t
        t = torch.linspace(-math.pi / 2, math.pi / 2, 4001)[1:-1].reshape(-1, 1, 1)
        centre = law.loc if hasattr(law, "loc") else law.mean
        x, slope = centre + torch.tan(t), torch.cos(t) ** -2
    else:  # x = sigmoid t
        t = torch.linspace(-36, 36, 4001).reshape(-1, 1, 1)
        x, slope = torch.sigmoid(t), torch.sigmoid(t) * torch.sigmoid(-t)
    return torch.trapezoid(law.log_prob(x).exp() * slope, t, dim=0)


@pytest.mark.parametrize("kind", likelihoods, ids=name)
def test_likelihoods_have_mass_one(kind):
    outputs = REGISTRY["likelihood"][kind["kind"]](**kind).num_outputs
    spread, shift = (1.0, 1.0) if kind["kind"] != "beta" else (0.5, torch.tensor([0.0, 3.0]))
    worst = 0.0
    for _ in range(20):
        law, support = law_of(kind, torch.randn(COUNT // 20, outputs) * spread + shift)
        with torch.no_grad():
            worst = max(worst, float((total_mass(law, support) - 1).abs().max()))
    assert worst < 1e-4
    with torch.no_grad():
        x = law.sample((2,))
    assert support.check(x).all() and law.log_prob(x).isfinite().all()


def test_the_audit_finds_a_density_that_is_none():
    """Planted: PyTorch's continuous Bernoulli at a logit that its clamp does not reach."""
    law = torch.distributions.ContinuousBernoulli(logits=torch.tensor([[40.0]]).float())
    t = torch.linspace(-36, 36, 4001).reshape(-1, 1, 1).float()
    x, slope = torch.sigmoid(t), torch.sigmoid(t) * torch.sigmoid(-t)
    assert abs(float(torch.trapezoid(law.log_prob(x).exp() * slope, t, dim=0)) - 1) > 0.1
    ours = ContinuousBernoulli(torch.tensor([[40.0]]))
    assert abs(float(total_mass(ours, ours.support)) - 1) < 1e-6


@pytest.mark.parametrize("kind", [k for k in likelihoods if k["kind"] != "student-t"], ids=name)
def test_likelihoods_have_the_mean_they_say(kind):
    outputs = REGISTRY["likelihood"][kind["kind"]](**kind).num_outputs
    law, _ = law_of(kind, torch.randn(50, outputs))
    x = law.sample((20_000,)).squeeze(-1)
    varies = x.std(0) > 0.05
    x, mean = x[:, varies], law.mean.squeeze(-1)[varies]
    assert z_scores(x, mean).abs().max() < bound(50)
    assert z_scores(x, mean + 0.1 * x.std(0)).abs().max() > bound(50)  # the twin


def test_continuous_bernoulli_near_zero_and_far():
    f = torch.tensor([-500.0, -30.0, -3.0, -0.01, -0.005, 0.0, 0.005, 0.0101, 2.0, 500.0])
    law = ContinuousBernoulli(f.requires_grad_())
    x = torch.full((10,), 0.3)
    (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), f)
    torch.testing.assert_close(gradient, x - law.mean, rtol=1e-6, atol=1e-8)
    drawn = law.sample((100_000,))
    assert z_scores((drawn - law.mean) ** 2, law.variance).detach().abs().max() < bound(10)


def built(prior, posterior, latent_dim=2):
    recipe = recipe_for(prior, {"kind": "gaussian"}, posterior, latent_dim=latent_dim)
    x = data_for("gaussian", 30)
    vae = pv.build_vae(recipe, tuple(x.shape[1:]), 1.0, as_split(x))
    for parameter in vae.parameters():
        parameter.data += 0.15 * torch.randn_like(parameter)
    return vae, x


def plane(law, reach, points=901):
    """Mass, mean and mean square of a density of the plane, on a grid that widens outwards."""
    u = torch.linspace(-reach, reach, points)
    z = torch.cartesian_prod(u.sinh(), u.sinh())
    cell = torch.cartesian_prod(u.cosh(), u.cosh()).prod(-1) * (u[1] - u[0]) ** 2
    with torch.no_grad():
        p = law.log_prob(z).exp() * cell
    return p.sum(), (p[:, None] * z).sum(0), (p[:, None] * z**2).sum(0)


def long_ones(kind):
    """Splines take the longest, and are left to `make test-all` here."""
    spline = kind["kind"] == "neural-spline" or kind.get("transform") == "spline"
    return pytest.param(kind, marks=pytest.mark.slow) if spline else kind


def check_plane(law, reach):
    mass, mean, square = plane(law, reach)
    assert abs(float(mass) - 1) < 1e-4
    with torch.no_grad():
        z = law.sample((50_000,))
    assert z_scores(z, mean).abs().max() < bound(4)
    assert z_scores(z**2, square).abs().max() < bound(4)
    assert z_scores(z, mean + 0.1 * z.std(0)).abs().max() > bound(4)  # the twin


@pytest.mark.parametrize("kind", [long_ones(kind) for kind in real_priors], ids=name)
def test_priors_have_mass_one_and_are_the_law_of_their_samples(kind):
    for seed in range(2):
        torch.manual_seed(seed)
        check_plane(built(kind, {"kind": "mean-field-normal"})[0].prior(), reach=4.5)


@pytest.mark.parametrize("kind", [long_ones(kind) for kind in real_posteriors], ids=name)
def test_posteriors_have_mass_one_and_are_the_law_of_their_samples(kind):
    for seed in range(2):
        torch.manual_seed(seed)
        vae, x = built({"kind": "standard-normal"}, kind)
        check_plane(vae.posterior(x[0]), reach=3.9)


FLOWS = [
    k
    for k in real_posteriors
    if k["kind"] in "iaf neural-spline planar householder sylvester".split()
]


@pytest.mark.parametrize("kind", FLOWS, ids=name)
@pytest.mark.parametrize("latent_dim", [2, 7])
def test_flows_change_variables(kind, latent_dim):
    """log q(z) = log N(z_0) - log |det dz / dz_0|, the determinant by autograd."""
    vae, x = built({"kind": "standard-normal"}, kind, latent_dim)
    q = vae.posterior(x[0])
    base = q.base_dist
    for _ in range(20):
        z0 = base.sample()

        def flow(v):
            for transform in q.transforms:
                v = transform(v)
            return v

        z = flow(z0)
        log_det = torch.linalg.slogdet(jacobian(flow, z0)).logabsdet
        expected = base.log_prob(z0) - log_det
        torch.testing.assert_close(q.log_prob(z), expected)  # cached
        torch.testing.assert_close(q.log_prob(z.clone()), expected)  # inverted
        if kind["kind"] != "householder":
            assert abs(float(log_det)) > 1e-6  # a dropped log-det would be seen


@pytest.mark.parametrize("kind", FLOWS, ids=name)
def test_inverses_have_gradients(kind):
    """The gradient of log q at a fixed z, through the inverse, against finite differences."""
    vae, x = built({"kind": "standard-normal"}, kind, 3)
    z = vae.posterior(x[0]).sample() + 0.1
    vae.posterior(x[0]).log_prob(z).backward()
    for parameter in vae.posterior.parameters():
        if parameter.grad is None:
            continue
        place = int(parameter.grad.abs().argmax())
        flat, slope, step = parameter.data.view(-1), float(parameter.grad.view(-1)[place]), 1e-5
        with torch.no_grad():
            flat[place] += step
            high = vae.posterior(x[0]).log_prob(z)
            flat[place] -= 2 * step
            low = vae.posterior(x[0]).log_prob(z)
            flat[place] += step
        assert abs(float(high - low) / (2 * step) - slope) < 1e-4 * (1 + abs(slope))


@pytest.mark.parametrize(
    "kind", [k for k in variants("prior") if k["kind"] in ("bernoulli", "categorical")], ids=name
)
def test_discrete_priors_sum_to_one(kind):
    vae, _ = built(kind, {"kind": "mean-field-normal"}, latent_dim=6)
    law = vae.prior()
    z = law.enumerate_support()
    assert len(torch.unique(z, dim=0)) == len(z) and law.support.check(z).all()
    p = law.log_prob(z).exp().detach()
    assert abs(float(p.sum()) - 1) < 1e-12
    assert z_scores(law.sample((50_000,)), (p[:, None] * z).sum(0)).abs().max() < bound(6)


def test_relaxed_bernoulli_integrates_to_one_and_rounds_to_its_twin():
    vae, x = built({"kind": "standard-normal"}, {"kind": "relaxed-bernoulli"})
    q = vae.posterior(x[0])
    t = torch.linspace(-30, 30, 4001)[:, None]
    density = q.base_dist.log_prob(torch.sigmoid(t)).exp() * torch.sigmoid(t) * torch.sigmoid(-t)
    assert (torch.trapezoid(density, t, dim=0) - 1).abs().max() < 1e-4
    bits = (q.rsample((50_000,)) > 0.5).double()
    twin = vae.eval().posterior(x[0]).mean.detach()
    assert z_scores(bits, twin).abs().max() < bound(2)
    assert z_scores(bits, 1 - twin).abs().max() > bound(2)


def test_relaxed_categorical_integrates_to_one_and_rounds_to_its_twin():
    logits = torch.tensor([0.3, -0.5])
    law = pv.distributions.RelaxedOneHots(torch.tensor(0.7), logits, 2)
    t = torch.linspace(-30, 30, 4001)
    z = torch.stack([torch.sigmoid(t), torch.sigmoid(-t)], -1)
    slope = z.prod(-1)
    assert abs(float(torch.trapezoid(law.log_prob(z).exp() * slope, t)) - 1) < 1e-4
    drawn = (law.rsample((50_000,))[:, 0] > 0.5).double()
    assert abs(z_scores(drawn, logits.softmax(0)[0])) < bound(1)
    assert abs(z_scores(drawn, 0.5)) > bound(1)


@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_straight_through_draws_the_discrete_law(kind):
    posterior = {"kind": f"relaxed-{kind}", "straight_through": True}
    if kind == "categorical":
        posterior["num_categories"] = 3
    vae, x = built({"kind": "standard-normal"}, posterior, latent_dim=6)
    q = vae.posterior(x[0])
    z = q.rsample((50_000,))
    assert vae.posterior.support.check(z).all()
    assert z_scores(z.detach(), q.mean.detach()).abs().max() < bound(6)
    z.sum(0)[0].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in vae.posterior.parameters())


# --- The sphere ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 3, 5, 20, 51])
def test_von_mises_fisher_normalizer_is_bessels(dim):
    kappa = torch.logspace(-2, 3.5, 60)
    law = VonMisesFisher(normalize(torch.randn(60, dim), dim=-1), kappa)
    bessel = torch.from_numpy(ive(dim / 2 - 1, kappa.numpy()))  # times e^-kappa
    keep = bessel > 0
    log_c = (dim / 2 - 1) * kappa.log() - dim / 2 * math.log(2 * math.pi) - bessel.log() - kappa
    at_mean = law.log_prob(law.loc)
    torch.testing.assert_close(at_mean[keep], (log_c + kappa)[keep], rtol=1e-8, atol=1e-8)
    ratio = torch.from_numpy(ive(dim / 2, kappa.numpy())) / bessel
    torch.testing.assert_close(law.cosine[keep], ratio[keep], rtol=1e-6, atol=1e-8)
    uniform = HypersphereUniform(torch.zeros(dim))
    kl = torch.distributions.kl_divergence(law, uniform)
    expected = kappa * ratio + log_c + log_surface(dim)
    torch.testing.assert_close(kl[keep], expected[keep], rtol=1e-6, atol=1e-7)
    assert (kl > -1e-9).all()


def test_sphere_surfaces():
    for dim, surface in ((1, 2), (2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        assert abs(math.exp(log_surface(dim)) - surface) < 1e-12


@pytest.mark.parametrize("dim", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.1, 3.0, 200.0])
def test_von_mises_fisher_samples_have_its_moments(dim, kappa):
    law = VonMisesFisher(normalize(torch.randn(dim), dim=-1), torch.tensor(kappa))
    z = law.sample((50_000,))
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-12
    assert z_scores(z, law.mean).abs().max() < bound(2 * dim)
    assert z_scores((z - law.mean) ** 2, law.variance).abs().max() < bound(2 * dim)
    assert z_scores(z, 1.1 * law.mean + 0.05).abs().max() > bound(2 * dim)  # the twin


@pytest.mark.parametrize("dim", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 10))])
def test_von_mises_fisher_gradients_are_unbiased(dim):
    """d/dkappa E[f(z)] of f = z' mu and its square; without the implicit term it is zero."""
    kappa = torch.full((100_000,), 4.0).requires_grad_()
    mean = torch.zeros(dim)
    mean[0] = 1.0
    law = VonMisesFisher(mean.expand(100_000, dim), kappa)
    cosine = law.rsample()[:, 0]
    for power in (1, 2):
        (gradient,) = torch.autograd.grad((cosine**power).sum(), kappa, retain_graph=True)
        k = torch.tensor([4.0]).requires_grad_()
        one = VonMisesFisher(mean[None], k)
        moment = one.cosine if power == 1 else one.variance[:, 0] + one.mean[:, 0] ** 2
        (exact,) = torch.autograd.grad(moment.sum(), k)
        assert abs(z_scores(gradient, exact[0])) < bound(2)
        assert abs(z_scores(gradient, 0.0)) > bound(2)


# --- Mixed columns and holes --------------------------------------------------------------------


def product_vae(x):
    kind = next(k for k in variants("likelihood") if k["kind"] == "product")
    recipe = recipe_for({"kind": "standard-normal"}, kind, {"kind": "mean-field-normal"})
    return pv.build_vae(recipe, tuple(x.shape[1:]), 1.0, as_split(x))


def test_product_adds_its_columns_and_leaves_holes_out():
    x = data_for("product", 12)
    vae = product_vae(x)
    z = torch.randn(12, vae.prior().event_shape[0])
    by_hand = torch.zeros(12)
    for part, columns in zip(vae.likelihood.parts, ([0, 3], [1], [5, 2, 4])):
        law = part(z).base_dist
        there = ~x[:, columns].isnan()
        filled = torch.where(there, x[:, columns], 0.0)
        by_hand += torch.where(there, law.log_prob(filled), 0.0).sum(-1)
    torch.testing.assert_close(vae.likelihood(z).log_prob(x), by_hand)
    assert x.isnan().any()
    x[0] = torch.nan
    assert float(vae.likelihood(z).log_prob(x)[0].detach()) == 0.0  # all integrated out
    drawn = vae.likelihood(z).sample()
    assert vae.likelihood.support.check(drawn).all()


def test_products_refuse_columns_that_do_not_fit():
    normal = pv.likelihoods.Gaussian(torch.nn.Identity())
    with pytest.raises(ValueError, match=r"every column in one part; got the columns \[0, 0\]"):
        pv.likelihoods.Product(torch.nn.Identity(), [([0], normal), ([0], normal)])


def test_holes_have_no_gradient_and_no_influence():
    x = data_for("product", 12)
    vae = product_vae(x)
    torch.manual_seed(1)
    loss = pv.objectives.ELBO()(vae.model, vae.guide, x).loss
    loss.backward()
    assert all(p.grad.isfinite().all() for p in vae.parameters())
    with pytest.raises(ValueError, match="got nan"):
        pv.fit(
            built({"kind": "standard-normal"}, {"kind": "mean-field-normal"})[0], x, progress=False
        )
