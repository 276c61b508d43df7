"""Densities and samples where single precision ends: exact, or refused with the number."""

import math
import warnings

import numpy as np
import pytest
import torch
from checks import bound, build, z_scores
from scipy import stats
from torch import nn

import pyro_vae as pv
from pyro_vae import distributions as laws
from pyro_vae.data import as_split
from pyro_vae.evaluate.units import unit_warning


def single(values):
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize("mean", [1e-3, 1.0, 1e3, 1e6, 1e7])
def test_counts_lose_no_digits(mean):
    """Near their means, in single precision, against double."""
    x = np.unique(np.round(mean + np.sqrt(mean) * np.array([-3, -1, 0, 1, 3])).clip(0))
    exact = stats.poisson.logpmf(x, float(np.exp(np.float32(np.log(mean)), dtype=np.float64)))
    ours = laws.Poisson(single(math.log(mean))).log_prob(single(x))
    assert np.abs(ours.numpy() - exact).max() < 1e-3
    for r in (0.5, 10.0, 1e4):
        log_r = single(math.log(r))
        r_, m_ = math.exp(float(log_r)), math.exp(float(single(math.log(mean))))
        exact = stats.nbinom.logpmf(x, r_, r_ / (r_ + m_))
        law = laws.NegativeBinomial(single(math.log(mean)), log_r)
        assert np.abs(law.log_prob(single(x)).numpy() - exact).max() < 2e-3
        zero = laws.ZeroInflated(law, single(-20.0)).log_prob(single(x))
        assert np.abs(zero.numpy() - exact)[x > 0].max(initial=0) < 2e-3
    naive = stats.poisson.logpmf(x, mean)
    plain = torch.distributions.Poisson(single(mean)).log_prob(single(x))
    assert mean < 1e6 or np.abs(plain.numpy() - naive).max() > 0.1  # the twin: single throughout


@pytest.mark.parametrize("n", [16, 1000, 10**6, 2**24])
def test_many_trials_lose_no_digits(n):
    for f in (-8.0, 0.3, 8.0):
        p = 1 / (1 + math.exp(-float(single(f))))
        x = np.unique(np.round(n * p + np.sqrt(n * p * (1 - p)) * np.array([-2, 0, 2])).clip(0, n))
        ours = laws.Binomial(n, single(f)).log_prob(single(x))
        assert np.abs(ours.numpy() - stats.binom.logpmf(x, n, p)).max() < 5e-3
    with pytest.raises(ValueError, match="Expected 1 to 16777216 trials"):
        pv.likelihoods.Binomial(nn.Identity(), 2**24 + 1)


def test_rates_far_below_and_above_are_finite():
    for f in (-1e4, -200.0, -104.0, 60.0, 88.0, 1e4):
        for x in (0.0, 2.0, 1e6):
            g = single(f).requires_grad_()
            r = single(0.3).requires_grad_()
            for law in (laws.Poisson(g), laws.NegativeBinomial(g, r)):
                value = law.log_prob(single(x))
                assert value.isfinite()
                assert all(
                    d is None or d.isfinite()
                    for d in torch.autograd.grad(value, [g, r], allow_unused=True)
                )


@pytest.mark.parametrize("level", [-60.0, 0.0, 15.0, 16.5, 25.0, 60.0, 500.0])
def test_samples_of_counts_are_counts(level):
    """Whatever the decoder says: finite, whole, not negative, around their mean."""
    decoder = nn.Identity()
    likelihoods = [
        pv.likelihoods.Poisson(decoder),
        pv.likelihoods.NegativeBinomial(decoder, 5.0),
        pv.likelihoods.ZeroInflatedNegativeBinomial(decoder, 5.0),
    ]
    for likelihood in likelihoods:
        z = torch.full((5000, 2), level)
        law = likelihood(z)
        x = law.sample()
        assert (x >= 0).all() and x.isfinite().all() and (x == x.round()).all()
        inflated = isinstance(likelihood, pv.likelihoods.ZeroInflatedNegativeBinomial)
        if 0 < level < 60 and not inflated:
            assert abs(z_scores(x[:, 0] / law.mean[0, 0], 1.0)) < bound(10)
    x = pv.likelihoods.Binomial(decoder, 2**24)(torch.zeros(100, 2)).sample()
    assert (x >= 0).all() and (x <= 2**24).all()


def test_counts_that_have_no_place_of_their_own_are_refused():
    vae, x = build(
        ({"kind": "standard-normal"}, {"kind": "poisson"}, {"kind": "mean-field-normal"})
    )
    x[2, 1] = 2.0**24
    pv.elbo(vae, x)
    x[2, 1] = 1e9
    with pytest.raises(ValueError, match=r"got 1e\+09 .* row 2, .* larger units"):
        pv.elbo(vae, x)


@pytest.mark.parametrize("log_scale", [-1e3, -60.0, -30.0, 0.0, 60.0, 1e3])
@pytest.mark.parametrize("sigma", ["shared", "per-element", "per-column", "optimal"])
def test_sigma_has_a_floor_and_a_ceiling(log_scale, sigma):
    """Constant data, of residual zero, too."""
    decoder = pv.nn.MLP(2, [], 6 if sigma == "per-element" else 3)
    likelihood = pv.likelihoods.Gaussian(decoder, sigma, x_shape=(3,))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        if sigma == "per-element":
            decoder.output_bias[3:] = log_scale
        else:
            likelihood.log_scale.fill_(log_scale)
    for x in (torch.zeros(4, 3), torch.ones(4, 3)):
        value = likelihood(torch.zeros(4, 2)).log_prob(x).sum()
        assert value.isfinite()
        found = torch.autograd.grad(value, [p for p in likelihood.parameters() if p.requires_grad])
        assert all(g.isfinite().all() for g in found)


@pytest.mark.parametrize("posterior", ["MeanFieldNormal", "Laplace"])
@pytest.mark.parametrize("outputs", [-1e3, -90.0, 50.0, 1e3])
def test_posteriors_gone_astray_stay_finite(posterior, outputs):
    values = torch.full((1, 4), outputs).requires_grad_()
    q = getattr(pv.posteriors, posterior)(nn.Identity())(values)
    z = q.rsample()
    log_q = q.log_prob(z.detach())
    assert log_q.isfinite().all()
    assert torch.autograd.grad(log_q.sum(), values)[0].isfinite().all()


def test_beta_and_student_densities_in_single_precision():
    for a, b in ((1e5, 2e5), (0.5, 0.01), (1e6, 1e6)):
        x = single([a / (a + b) * 0.999, a / (a + b)])
        ours = laws.Beta(single(a), single(b)).log_prob(x).numpy()
        exact = stats.beta.logpdf(x.double().numpy(), float(single(a)), float(single(b)))
        assert np.abs(ours - exact).max() < 1e-4 * max(1, np.abs(exact).max())
    for df in (0.5, 4.0, 1e6):
        x = single([-3.0, 0.0, 2.5])
        ours = laws.StudentT(single(df), single(0.3), single(1.5)).log_prob(x).numpy()
        exact = stats.t.logpdf(x.double().numpy(), df, float(single(0.3)), 1.5)
        assert np.abs(ours - exact).max() < 2e-6


def test_the_variance_of_continuous_bernoullis_in_single_precision():
    f = torch.tensor([1e-6, 0.0101, 0.1, 0.49, 0.51, 3.0, 30.0])
    exact = laws.ContinuousBernoulli(f.double())
    grid = torch.linspace(0, 1, 200_001, dtype=torch.float64)[:, None]
    density = exact.log_prob(grid).exp()
    mean = torch.trapezoid(density * grid, grid, dim=0)
    truth = torch.trapezoid(density * (grid - mean) ** 2, grid, dim=0)
    ours = laws.ContinuousBernoulli(f).variance.double()
    assert (ours / truth - 1).abs().max() < 1e-4


# --- Optimal sigma, and the unit of the data --------------------------------------------------------


def test_optimal_sigma_moves_with_holes():
    """The root mean square of what is there; also inside of a product."""
    torch.manual_seed(0)
    x = 0.2 * torch.randn(300, 4)
    x[torch.rand(300, 4) < 0.3] = torch.nan
    part = pv.likelihoods.Gaussian(pv.nn.MLP(2, [], 3), "optimal")
    other = pv.likelihoods.Gaussian(pv.nn.MLP(2, [], 1), "shared")
    likelihood = pv.likelihoods.Product(nn.Identity(), [([0, 1, 3], part), ([2], other)])
    encoder = nn.Sequential(pv.nn.Observed(), pv.nn.MLP(8, [8], 4))
    vae = pv.VAE(pv.priors.StandardNormal(2), likelihood, pv.posteriors.MeanFieldNormal(encoder))
    with torch.no_grad():
        for parameter in part.decoder.parameters():
            parameter.zero_()
    for parameter in vae.parameters():
        parameter.requires_grad_(parameter is other.log_scale)
    pv.fit(vae, x, epochs=250, batch_size=100, progress=False)
    truth = float(x[:, [0, 1, 3]].square().nanmean().sqrt())
    found = float(part.log_scale.detach().exp())
    assert found == pytest.approx(truth, rel=0.02) and found < 0.5  # the twin: it stays at 1


def test_a_sigma_per_column_finds_each_columns_noise():
    torch.manual_seed(0)
    noise = torch.tensor([0.1, 1.0, 5.0])
    x = noise * torch.randn(2000, 3)
    vae = pv.VAE(
        pv.priors.StandardNormal(1),
        pv.likelihoods.Gaussian(pv.nn.MLP(1, [], 3), "per-column"),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(3, [4], 2)),
    )
    pv.fit(vae, x, epochs=150, batch_size=200, lr=2e-2, schedule="cosine", progress=False)
    found = vae.likelihood.log_scale.detach().exp()
    assert (found / noise - 1).abs().max() < 0.1
    with pytest.raises(ValueError, match="Give x_shape"):
        pv.likelihoods.Gaussian(nn.Linear(2, 3), "per-column")


def test_recipes_start_where_the_data_are():
    x = torch.tensor([1.0, 100.0, 5.0]) * torch.randn(500, 3) + 7.0
    x[:, 2] = 5.0  # constant
    from checks import recipe_for

    for sigma, expected in (("per-column", [1.0, 100.0, None]), ("shared", None)):
        recipe = recipe_for(
            {"kind": "standard-normal"},
            {"kind": "gaussian", "sigma": sigma},
            {"kind": "mean-field-normal"},
        )
        vae = pv.build_vae(recipe, (3,), 1.0, as_split(x))
        found = vae.likelihood.log_scale.detach().exp()
        assert found.isfinite().all()
        if expected is not None:
            assert (found[:2] / torch.tensor(expected[:2]) - 1).abs().max() < 0.2
        else:
            assert float(found) == pytest.approx(
                float(x[:, :2].std(0).square().mean().sqrt()), rel=0.01
            )
    recipe = recipe_for(
        {"kind": "standard-normal"},
        {"kind": "gaussian", "scale": 0.3},
        {"kind": "mean-field-normal"},
    )
    vae = pv.build_vae(recipe, (3,), 1.0, as_split(x))
    assert float(vae.likelihood.log_scale.detach().exp()) == pytest.approx(0.3)


def plain_vae(dim=4, sigma="shared", **options):
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], dim), sigma, **options),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(dim, [8], 4)),
    )


def units():
    x = torch.randn(200, 4)
    yield "standardized", x, None
    yield "thousands", 1000 * x, "scale of all data"
    yield "thousandths", x / 1000, "scale of all data"
    yield "years", x + 2000, "scale of all data"
    yield "one large column", x * torch.tensor([1, 1, 1e4, 1.0]), "scale of all data"
    yield "one small column", x * torch.tensor([1, 1, 1, 1e-4]), "scale of column 3"
    yield "a constant column", x * torch.tensor([1, 0, 1, 1.0]), None
    rare = torch.zeros(200, 4)
    rare[5, 1] = 0.5
    rare[:, [0, 2, 3]] = x[:, [0, 2, 3]]
    yield "a column that is hardly used", rare, None
    yield "grey levels", torch.rand(200, 4) * 255, None
    holes = 1000 * x
    holes[:50] = torch.nan
    yield "holes", holes, "scale of all data"


@pytest.mark.parametrize(
    "name,x,words", list(units()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_units_far_from_the_models_are_told(name, x, words):
    told = unit_warning(plain_vae(), as_split(x))
    assert told is None if words is None else words in told


def test_the_warning_reaches_the_user_once():
    x = 1000 * torch.randn(50, 4)
    with pytest.warns(UserWarning, match="scale of all data .* Standardize") as seen:
        pv.fit(plain_vae(), x, epochs=1, progress=False)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pv.fit(plain_vae(scale=1000.0), x, epochs=1, progress=False)  # it starts there
        vae, bits = build(
            ({"kind": "standard-normal"}, {"kind": "bernoulli"}, {"kind": "mean-field-normal"})
        )
        pv.fit(vae, bits, epochs=1, progress=False)
        vae, counts = build(
            ({"kind": "standard-normal"}, {"kind": "poisson"}, {"kind": "mean-field-normal"})
        )
        pv.fit(vae, counts * 1000, epochs=1, progress=False)


# --- Directions, and flows far out ------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [1e-2, 10.0, 1e5, 1e7, 1e8])
@pytest.mark.parametrize("dim", [2, 3, 10])
def test_concentrated_directions_in_single_precision(dim, kappa):
    """Density against double precision, and the mean cosine of samples against its integral."""
    mean = torch.nn.functional.normalize(torch.arange(1.0, dim + 1), dim=0)
    law = laws.VonMisesFisher(mean, single(kappa))
    exact = laws.VonMisesFisher(
        torch.nn.functional.normalize(mean.double(), dim=0), single(kappa).double()
    )
    z = law.sample((20_000,))
    unit = torch.nn.functional.normalize(z.double(), dim=-1)
    assert (law.log_prob(z) - exact.log_prob(unit)).abs().mean() < 5e-3
    short = (unit - exact.loc).square().sum(-1) / 2
    assert abs(z_scores(short / exact._shortfall, 1.0)) < bound(15)
    if dim == 3:  # a closed form: kappa / (4 pi sinh kappa) e^(kappa cos)
        k = float(single(kappa))
        volume = math.log(k / (2 * math.pi)) - math.log(-math.expm1(-2 * k))
        assert float((exact.log_prob(unit) - (volume - k * short)).abs().max()) < 1e-6 * max(
            1, k * 1e-6
        )
    one = single(kappa).requires_grad_()
    angle = laws.VonMisesFisher(mean, one).rsample((100,))
    assert torch.autograd.grad(angle.sum(), one)[0].isfinite()


@pytest.mark.parametrize("kind", ["IAF", "NeuralSpline", "Planar", "Sylvester", "Householder"])
def test_flows_have_a_density_everywhere(kind):
    """However far out, and whatever the weights: a number or minus infinity."""
    torch.manual_seed(0)
    size = pv.config.REGISTRY["posterior"]
    names = {"IAF": "iaf", "NeuralSpline": "neural-spline"}
    outputs = size[names.get(kind, kind.lower())]().num_outputs(6)
    posterior = getattr(pv.posteriors, kind)(pv.nn.MLP(3, [8], outputs), 6)
    for parameter in posterior.parameters():
        parameter.data *= 8
    q = posterior(torch.randn(20, 3))
    assert q.log_prob(q.sample()).isfinite().all()
    for far in (1.0, 30.0, 100.0, 1e4, 1e15, 1e30, 3e38):
        for sign in (1, -1):
            log_q = q.log_prob(torch.full((20, 6), sign * far))
            assert not log_q.isnan().any() and (log_q < torch.inf).all()
    prior = pv.priors.Flow(6)
    for parameter in prior.parameters():
        parameter.data *= 8
    for far in (30.0, 1e30):
        log_p = prior().log_prob(torch.full((5, 6), far))
        assert not log_p.isnan().any() and (log_p < torch.inf).all()
