"""Holes that depend on what is missing, against quadrature."""

import pyro.distributions as dist
import pytest
import torch
from checks import bound, z_scores
from ppca import NAN, linear
from torch import nn

import pyro_vae as pv
from pyro_vae.config import validate
from pyro_vae.data import as_split
from pyro_vae.objectives import ELBO

pytestmark = pytest.mark.usefixtures("float64")
N, MLP = pv.posteriors.MeanFieldNormal, pv.nn.MLP
SLOPE, CENTRE, SIGMA = 2.0, 0.3, 0.6
WEIGHT = [[1.0], [0.5]]
SIDE = torch.linspace(-8, 8, 1201, dtype=torch.float64)
STEP = (SIDE[1] - SIDE[0]).log()


def masked():
    """z in one dimension, two elements, the larger the more often missing."""
    gaussian = pv.likelihoods.Gaussian(linear(torch.tensor(WEIGHT)), "fixed", SIGMA)
    masking = pv.likelihoods.SelfMasking([2], SLOPE, CENTRE).given("x")
    vae = pv.VAE(
        pv.priors.StandardNormal(1),
        pv.Sites(x=pv.likelihoods.MissingAtRandom(gaussian), m=masking),
        N(nn.Sequential(pv.nn.Observed(), MLP(4, [8], 2))),
    )
    return vae, torch.tensor([[0.5, NAN], [NAN, NAN], [-1.0, 1.2]])


def log_joint(j, value, at):
    """log p(x_j, m_j | z) over z on the grid, at values of x_j where it is missing."""
    law = dist.Normal(torch.tensor(WEIGHT)[j, 0] * SIDE[:, None], SIGMA)
    if value.isnan():
        return law.log_prob(at[None]) + nn.functional.logsigmoid(SLOPE * (at[None] - CENTRE))
    hidden = nn.functional.logsigmoid(-SLOPE * (value - CENTRE))
    return (law.log_prob(value[None, None]) + hidden).expand(-1, 1)


def element(j, value):
    parts = log_joint(j, value, SIDE)
    return parts.logsumexp(1) + STEP if value.isnan() else parts[:, 0]


def test_the_evidence_of_data_and_their_holes():
    vae, x = masked()
    prior = dist.Normal(0.0, 1.0).log_prob(SIDE)
    exact = torch.stack([(prior + element(0, r[0]) + element(1, r[1])).logsumexp(0) for r in x])
    exact = exact + STEP
    found = pv.log_marginal(vae, x, 40_000)  # m by itself
    assert float(((found.log_marginal - exact) / found.mc_se).abs().max()) < bound(3)
    told = pv.log_marginal(vae, x, 100, m=x.isnan().double())
    assert told.log_marginal.equal(pv.log_marginal(vae, x, 100).log_marginal)
    at_random = pv.log_marginal(vae, x, 4000, m=torch.zeros_like(x))  # nothing said to be missing
    assert float((at_random.log_marginal - exact)[:2].abs().min()) > 0.1
    terms = ELBO(kl="closed-form")(vae.model, vae.guide, x, m=x.isnan().double())
    assert float(terms.loss.detach()) > -float(exact.mean()) - 0.5


@pytest.mark.filterwarnings("ignore:Not to be trusted")  # by so few steps
@pytest.mark.parametrize("method", ["gibbs", "sir"])
def test_what_is_missing_is_drawn_given_that_it_is(method):
    vae, x = masked()
    prior = dist.Normal(0.0, 1.0).log_prob(SIDE)
    log_z = prior[:, None] + element(0, x[0, 0])[:, None] + log_joint(1, x[0, 1], SIDE)
    weight = log_z.logsumexp(0).softmax(0)  # of x_2, given x_1 and that it is missing
    mean, second = (weight * SIDE).sum(), (weight * SIDE**2).sum()
    count = 3000
    options = {"num_particles": 40_000} if method == "sir" else {"num_steps": 50}
    found = pv.impute(vae, x[:1], count, method=method, **options)
    draws = found.draws[:, 0, 1]
    again = (1 + count / float(found.ess[0])) ** 0.5 if method == "sir" else 1.0
    z = torch.stack([z_scores(draws, mean), z_scores(draws**2, second)])
    assert float(z.abs().max()) < again * bound(2)
    ignorant = pv.VAE(vae.prior, vae.likelihood["x"], vae.posterior)
    twin = pv.impute(ignorant, x[:1], count, method=method, **options).draws[:, 0, 1]
    assert abs(float(z_scores(twin, mean))) > 2 * bound(1)


def test_slopes_are_found():
    """Larger values are missing more often in the first column, smaller ones in the second."""
    z = torch.randn(800, 1)
    x = torch.cat([z, z, z], 1) + 0.3 * torch.randn(800, 3)
    x[torch.rand(800) < (3 * x[:, 0]).sigmoid(), 0] = NAN
    x[torch.rand(800) < (-3 * x[:, 1]).sigmoid(), 1] = NAN
    recipe = validate(
        {
            "latent_dim": 1,
            "data": {"kind": "digits"},
            "likelihood": {
                "x": {"kind": "gaussian", "missing": "at-random", "decoder": {"kind": "mlp", "hidden_features": []}},
                "m": {"kind": "self-masking", "given": ["x"]},
            },
            "posterior": {"kind": "mean-field-normal", "encoder": {"kind": "mlp", "hidden_features": [16]}},
            "train": {"precision": "float64"},
        }
    )  # fmt: skip
    split = as_split(x)
    vae = pv.build_vae(recipe, (3,), 1.0, split)
    pv.fit(vae, split, epochs=25, lr=0.02, num_particles=5, estimator="iwae", progress=False)
    slope = vae.likelihood["m"].slope.detach()
    assert float(slope[0]) > 1 and float(slope[1]) < -0.5, slope
    assert pv.sample(vae, 4).shape == (4, 3)


@pytest.mark.parametrize(
    ("likelihood", "data", "words"),
    [
        ({"x": {"kind": "gaussian"}, "m": {"kind": "self-masking", "given": ["x"]}}, {}, 'likelihood.m: expected likelihood.x.missing = "at-random"'),
        ({"x": {"kind": "gaussian", "missing": "at-random"}, "m": {"kind": "self-masking"}}, {}, r"given = \[.x.\]; got m given nothing"),
        ({"kind": "self-masking", "given": ["z"]}, {}, "a site of its own"),
        ({"x": {"kind": "gaussian"}, "m": {"kind": "self-masking", "given": ["x"]}}, {"holes": {"rate": 0.5, "when": "visit"}}, "holes that stay where they are"),
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense(likelihood, data, words):
    with pytest.raises(ValueError, match=words):
        validate({"data": {"kind": "digits", **data}, "likelihood": likelihood})


def test_products_are_not_given_to_other_sites():
    part = pv.likelihoods.Gaussian(MLP(2, [], 2))
    vae = pv.VAE(
        pv.priors.StandardNormal(2),
        pv.Sites(
            x=pv.likelihoods.Product(nn.Identity(), [([0, 1], part)]),
            m=pv.likelihoods.SelfMasking([2]).given("x"),
        ),
        N(nn.Sequential(pv.nn.Observed(), MLP(4, [8], 4))),
    )
    with pytest.raises(ValueError, match="real numbers for holes.*got a product over columns"):
        pv.elbo(vae, torch.tensor([[0.5, NAN]]))
