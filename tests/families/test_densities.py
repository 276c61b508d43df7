"""Every density sums or integrates to one, and is the law of its own samples."""

import math

import pytest
import torch
from checks import WHOLE, bound, built, variants, z_scores
from torch.distributions.constraints import boolean

from pyro_vae.build import construct, num_outputs
from pyro_vae.config import REGISTRY
from pyro_vae.distributions import ContinuousBernoulli

pytestmark = pytest.mark.usefixtures("float64")

COUNT = 2_000  # random parameters
INSIDE = [
    {"kind": "censored", "family": {"kind": "gaussian", "sigma": "per-element"}, "upper": 0.5},
    {"kind": "hurdle", "family": {"kind": "poisson"}},
    {"kind": "hurdle", "family": {"kind": "binomial", "total_count": 4}},
    {"kind": "hurdle", "family": {"kind": "gamma", "shape": 2.0}},
    {"kind": "hurdle", "family": {"kind": "beta"}},
]
likelihoods = [kind for kind in variants("likelihood") if kind["kind"] not in WHOLE] + INSIDE
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
    return "+".join(name(v) if isinstance(v, dict) else str(v) for v in kind.values())


def law_of(kind, outputs):
    """The law of single elements under a likelihood whose decoder gives `outputs`."""
    known = {"decoder": torch.nn.Identity(), "x_shape": (1,)}
    family = construct(REGISTRY["likelihood"][kind["kind"]](**kind), known)
    return family(outputs).base_dist, family.support


def total_mass(law, support):
    """The mass of each element: a sum over values, or a trapezoid rule after a substitution."""
    if support.is_discrete:
        x = torch.arange(
            float(getattr(support, "upper_bound", 1 if support is boolean else 3000)) + 1
        ).reshape(-1, 1, 1)
        return law.log_prob(x).logsumexp(0).exp()
    low, high = (getattr(support, end, math.inf) for end in ("lower_bound", "upper_bound"))
    t = torch.linspace(-36, 36, 4001).reshape(-1, 1, 1)
    if type(support).__name__ == "_Real":  # x = centre + tan t
        t = torch.linspace(-math.pi / 2, math.pi / 2, 4001)[1:-1].reshape(-1, 1, 1)
        centre = law.loc if hasattr(law, "loc") else law.mean
        x, slope = centre + torch.tan(t), torch.cos(t) ** -2
    elif math.inf not in (-low, high):  # x = low + (high - low) sigmoid t
        x, slope = low + (high - low) * t.sigmoid(), (high - low) * t.sigmoid() * (-t).sigmoid()
    else:  # x = low + e^t, or high - e^t
        x, slope = (low + t.exp() if high == math.inf else high - t.exp()), t.exp()
    atoms = [end for end in (low, high) if has_mass_at(support, end)]
    points = sum(law.log_prob(torch.full((1, 1), end)).exp() for end in atoms)
    return torch.trapezoid(law.log_prob(x).exp() * slope, t, dim=0) + points


def has_mass_at(support, end):
    """Whether an end of the support has a probability: a limit, or zero."""
    if type(support).__name__ == "Between":
        return math.isfinite(end)
    return end == 0.0 and type(support).__name__ in ("_GreaterThanEq", "_HalfOpenInterval")


@pytest.mark.parametrize("kind", likelihoods, ids=name)
def test_likelihoods_have_mass_one(kind):
    outputs = num_outputs(REGISTRY["likelihood"][kind["kind"]](**kind))
    spread, shift = 1.0, torch.tensor(1.0)
    if "beta" in name(kind):
        spread, shift = 0.5, torch.tensor([0.0, 3.0, 0.0])[:outputs]
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


@pytest.mark.parametrize("kind", [k for k in likelihoods if "student-t" not in name(k)], ids=name)
def test_likelihoods_have_the_mean_they_say(kind):
    outputs = num_outputs(REGISTRY["likelihood"][kind["kind"]](**kind))
    law, _ = law_of(kind, torch.randn(50, outputs))
    x = law.sample((20_000,)).squeeze(-1)
    varies = x.std(0) > 0.05
    x, mean = x[:, varies], law.mean.squeeze(-1)[varies]
    assert z_scores(x, mean).abs().max() < bound(50)
    assert z_scores(x, mean + 0.1 * x.std(0)).abs().max() > bound(50)  # the twin


def plane(law, reach, points=401):
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


def check_plane(law, reach, points=401):
    mass, mean, square = plane(law, reach, points)
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
        points = 901 if kind["kind"] == "neural-spline" else 401  # a spline has kinks
        check_plane(vae.posterior(x[0]), 3.9, points)


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
