"""Limits: probabilities at them, densities between, and what a model with limits learns."""

import math

import pytest
import torch
from checks import bound, z_scores
from scipy import integrate
from torch import nn

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")

FAMILIES = {
    "gaussian": lambda: pv.likelihoods.Gaussian(nn.Identity(), scale=0.7),
    "laplace": lambda: pv.likelihoods.Laplace(nn.Identity(), scale=0.7),
    "student-t": lambda: pv.likelihoods.StudentT(nn.Identity(), df=3.5, scale=0.7),
}
LIMITS = [(-0.4, None), (None, 1.2), (-0.4, 1.2)]


@pytest.mark.parametrize("lower,upper", LIMITS)
@pytest.mark.parametrize("name", FAMILIES)
def test_limits_have_the_probability_of_what_is_beyond(name, lower, upper):
    """By integration of the density of the family, which stays what it is between the limits."""
    family = FAMILIES[name]()
    censored = pv.likelihoods.Censored(family, lower, upper)
    for f in (-2.0, 0.3, 1.1):
        z = torch.full((1, 1), f)
        law, whole = censored(z), family(z)

        def density(x, whole=whole):
            return float(whole.log_prob(torch.full((1, 1), x)).detach().exp())

        def at(x, law=law):
            return float(law.log_prob(torch.full((1, 1), x)).detach().exp())

        if lower is not None:
            below = integrate.quad(density, -math.inf, lower)[0]
            assert at(lower) == pytest.approx(below, rel=1e-6, abs=1e-9)
            assert float(law.base_dist.cdf(torch.tensor(lower)).detach()) == pytest.approx(
                below, rel=1e-6
            )
        if upper is not None:
            above = integrate.quad(density, upper, math.inf)[0]
            assert at(upper) == pytest.approx(above, rel=1e-6, abs=1e-9)
        assert at(0.5) == pytest.approx(density(0.5))
        x = law.sample((40_000,)).flatten()
        assert (x.min() >= (lower or -9e9)) and (x.max() <= (upper or 9e9))
        if name != "student-t" or lower is not None is not upper:
            assert abs(z_scores(x, law.mean.detach().flatten())) < bound(27)
            square = (law.variance + law.mean.square()).detach().flatten()
            assert name == "student-t" or abs(z_scores(x.square(), square)) < bound(27)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_score_of_censored_data_is_zero_on_average(name):
    """E grad log p(x) = 0 where x is drawn from p: for every parameter, by the z rule."""
    family = FAMILIES[name]()
    censored = pv.likelihoods.Censored(family, -0.4, 1.2)
    z = torch.full((20_000, 1), 0.6)
    x = censored(z).sample()
    parameters = [p for p in family.parameters() if p.requires_grad]

    def scores(likelihood, count):
        rows = []
        for some in x.split(len(x) // count):
            f = z[: len(some)].clone().requires_grad_()
            total = likelihood(f).log_prob(some).sum()
            found = torch.autograd.grad(total, [f, *parameters])
            rows.append(torch.stack([g.sum() for g in found]))
        return z_scores(torch.stack(rows), torch.zeros(()))

    assert scores(censored, 200).abs().max() < bound(3 * 3)
    assert scores(family, 200).abs().max() > bound(3 * 3)  # the twin: limits are not told


def line(weights):
    """A linear decoder of one latent feature."""
    decoder = pv.nn.MLP(1, [], len(weights))
    with torch.no_grad():
        decoder.layers[0].weight.copy_(torch.tensor(weights)[:, None])
        decoder.output_bias.fill_(0.2)
    return decoder


def censored_vae(censor):
    """Two real columns, and between them one that is cut off; the guide is the prior."""
    middle = pv.likelihoods.Gaussian(line([-1.3]), "fixed", 0.8)
    parts = [
        ([0, 2], pv.likelihoods.Gaussian(line([1.0, 0.8]), "fixed", 0.8)),
        ([1], pv.likelihoods.Censored(middle, upper=0.5) if censor else middle),
    ]
    encoder = nn.Sequential(pv.nn.Observed(), pv.nn.MLP(6, [], 2))
    nn.init.zeros_(encoder[1].layers[0].weight)
    return pv.VAE(
        pv.priors.StandardNormal(1),
        pv.likelihoods.Product(nn.Identity(), parts),
        pv.posteriors.MeanFieldNormal(encoder),
    )


def test_the_evidence_of_a_censored_vae_is_a_line_integral():
    """A linear decoder of one latent feature, with holes: log p(x) by quadrature and by sampling."""
    vae = censored_vae(True)
    x = vae.model(batch_size=40).detach()
    assert 5 < (x[:, 1] == 0.5).sum() < 35
    x[::7, 0] = x[1, 1] = torch.nan
    z = torch.linspace(-9, 9, 6001)[:, None]
    joint = vae.prior().log_prob(z)[:, None] + vae.likelihood(z[:, None]).log_prob(x)
    exact = (joint.logsumexp(0) + math.log(18 / 6000)).detach()
    found = pv.log_marginal(vae, x, 4000)
    assert ((found.log_marginal - exact) / found.mc_se).abs().max() < bound(40)
    twin = pv.log_marginal(censored_vae(False), x, 4000)
    assert ((twin.log_marginal - exact) / found.mc_se).abs().max() > 2 * bound(40)


def test_a_model_with_limits_finds_what_is_beyond_them():
    """Half of the data are at the limit; the location and sigma of all of them are learned."""
    x = (0.5 + 2.0 * torch.randn(2000, 1)).clamp(max=0.5)
    found = {}
    for name in ("censored", "plain"):
        family = pv.likelihoods.Gaussian(line([0.0]))
        family.decoder.layers[0].weight.requires_grad_(False)
        likelihood = pv.likelihoods.Censored(family, upper=0.5) if name == "censored" else family
        optimizer = torch.optim.LBFGS(family.parameters(), max_iter=50)

        def loss(likelihood=likelihood, optimizer=optimizer):
            optimizer.zero_grad()
            value = -likelihood(torch.zeros(len(x), 1)).log_prob(x).mean()
            value.backward()
            return value

        optimizer.step(loss)
        found[name] = (
            float(family.decoder.output_bias.detach()),
            float(family.log_scale.detach().exp()),
        )
    assert found["censored"] == pytest.approx((0.5, 2.0), rel=0.1)
    assert found["plain"][0] < 0.0 and found["plain"][1] < 1.5  # the twin


def test_limits_meet_holes_units_and_extremes():
    family = pv.likelihoods.Gaussian(nn.Identity(), "per-element")
    family.standardize(torch.tensor([10.0, 0.0]), torch.tensor([2.0, 1.0]))
    censored = pv.likelihoods.MissingAtRandom(pv.likelihoods.Censored(family, 9.0, 12.0))
    z = torch.tensor([[0.5, 0.3, 0.0, 0.0]])
    x = torch.tensor([[12.0, torch.nan]])
    above = 0.5 * math.erfc((12.0 - 11.0) / 2.0 / math.sqrt(2))  # in the units of x
    assert float(censored(z).log_prob(x).detach()) == pytest.approx(math.log(above))
    for level in (-1e6, -30.0, 0.0, 30.0, 1e6):
        for make in FAMILIES.values():
            likelihood = pv.likelihoods.Censored(make().float(), -1.0, 1.0)
            f = torch.full((1, 3), level, dtype=torch.float32).requires_grad_()
            x = torch.tensor([[-1.0, 0.3, 1.0]], dtype=torch.float32)
            value = likelihood(f).log_prob(x)
            assert value.isfinite().all()
            parameters = [p for p in likelihood.parameters() if p.requires_grad]
            assert all(
                g.isfinite().all() for g in torch.autograd.grad(value.sum(), [f, *parameters])
            )
            assert likelihood(f).mean.isfinite().all()


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda g: pv.likelihoods.Censored(g), "Expected a limit, lower or upper"),
        (lambda g: pv.likelihoods.Censored(g, 2.0, 1.0), "got lower=2.0 and upper=1.0"),
        (lambda g: pv.likelihoods.Censored(pv.likelihoods.Poisson(g.decoder), 1.0), "got Poisson"),
        (
            lambda g: pv.likelihoods.Censored(pv.likelihoods.Gaussian(g.decoder, "optimal"), 1.0),
            'got "optimal"',
        ),
        (
            lambda g: pv.likelihoods.Censored(pv.likelihoods.MissingAtRandom(g), 1.0),
            "MissingAtRandom, which allows for holes",
        ),
    ],
)
def test_what_cannot_be_censored_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(pv.likelihoods.Gaussian(nn.Identity()))


def test_values_beyond_a_limit_are_refused():
    vae = censored_vae(True)
    x = vae.model(batch_size=8).detach()
    x[3, 1] = 0.7
    with pytest.raises(
        ValueError, match=r"up to 0.5.*in this column; got 0.7.*row 3.*\(lower, upp"
    ):
        pv.elbo(vae, x)
