"""Intervals for log p(x) hold it as often as they say."""

import math

import pytest
import torch
from checks import exact_vae

import pyro_vae as pv
from pyro_vae.evaluate.importance import _summary
from pyro_vae.statistics import NORMAL

pytestmark = pytest.mark.usefixtures("float64")

W = torch.tensor([[1.0, 0.4], [-0.3, 0.8], [0.5, -0.9]])
GUIDES = {  # a linear-Gaussian model under guides that are too wide, diagonal, shifted, too narrow
    "wide": ("mean-field", 1.3, 0.0),
    "mean field": ("mean-field", 1.0, 0.0),
    "shifted": ("mean-field", 1.0, 0.25),
    "narrow": ("mean-field", 0.75, 0.0),
    "narrower": ("full", 0.6, 0.0),
}


def log_ratios(guide, count, num_data=400, seed=0, sigma=0.7):
    """log w - log p(x) of importance weights, of shape (K, B): the truth is zero."""
    kind, widen, shift = GUIDES[guide]
    w = W.double()
    precision = torch.eye(2) + w.T @ w / sigma**2
    covariance = torch.linalg.inv(precision)
    gain = covariance @ w.T / sigma**2
    torch.manual_seed(seed)
    x = torch.randn(num_data, 3) @ torch.linalg.cholesky(w @ w.T + sigma**2 * torch.eye(3)).T
    scale = precision.diagonal().rsqrt().diag()
    scale = widen * (torch.linalg.cholesky(covariance) if kind == "full" else scale)
    normal = torch.distributions.MultivariateNormal
    q = normal(x @ (gain + shift).T, scale_tril=scale.expand(num_data, 2, 2))
    p = normal(x @ gain.T, covariance.expand(num_data, 2, 2))
    z = q.sample((count,))
    return p.log_prob(z) - q.log_prob(z)


def estimate_of(log_weights):
    count = len(log_weights)
    tail = min(count // 5, math.ceil(3 * math.sqrt(count)))
    return _summary(iter(log_weights.split(64)), count, tail)


def coverage(guide, count, seeds=(0,)):
    """How often intervals hold the truth, the share that is given, and the mean width."""
    found = [estimate_of(log_ratios(guide, count, seed=seed)) for seed in seeds]
    lower, upper = (torch.cat([getattr(f, side) for f in found]) for side in ("lower", "upper"))
    given = ~lower.isnan()
    held = ((lower <= 0) & (0 <= upper))[given].double().mean()
    return float(held), float(given.double().mean()), float((upper - lower)[given].mean())


def symmetric_coverage(guide, count):
    """The twin: two standard errors by the delta method, of data whose k-hat is called good."""
    e = estimate_of(log_ratios(guide, count))
    good = e.khat <= 0.7
    return float((e.log_marginal.abs() <= NORMAL * e.mc_se)[good].double().mean())


@pytest.mark.parametrize("count", [100, 500, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("guide", GUIDES)
def test_intervals_hold_the_truth_as_often_as_they_say(guide, count):
    held, given, _ = coverage(guide, count, seeds=(0, 1, 2))
    assert 0.92 <= held <= 0.985
    if count == 500 and guide in ("wide", "mean field"):
        assert given > 0.9
    assert count > 100 or given > 0.3


def test_two_standard_errors_hold_it_less_often():
    for count in (100, 500, 2000):
        assert symmetric_coverage("narrower", count) < 0.85


@pytest.mark.slow
def test_the_table_of_coverage(capsys):
    with capsys.disabled():
        print()
        for guide in GUIDES:
            for count in (100, 500, 2000):
                held, given, width = coverage(guide, count, seeds=range(10))
                print(
                    f"{guide:11s} K {count:5d} held {held:.3f} given {given:.3f} width {width:.3f}"
                )
                assert 0.92 <= held <= 0.985


def test_few_samples_have_no_interval_and_say_why():
    estimate = estimate_of(log_ratios("mean field", 10))
    assert estimate.lower.isnan().all() and estimate.upper.isnan().all()
    assert "10 samples are too few" in estimate.errors()
    found = pv.evaluate.verdict(estimate)
    assert found.colour == "amber" and "10 samples cannot show more" in found.reason
    heavy = estimate_of(log_ratios("narrower", 500))
    assert 0 < heavy.lower.isnan().double().mean() < 1 and "too heavy" in heavy.errors()
    assert "Every datum" in estimate_of(log_ratios("wide", 500)).errors()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exact_posterior_is_green(dtype):
    vae, exact, x = exact_vae("full", count=50)
    torch.set_default_dtype(dtype)
    estimate = pv.log_marginal(vae.to(dtype), x.to(dtype), 500)
    torch.set_default_dtype(torch.float64)
    found = pv.evaluate.verdict(estimate)
    assert found.colour == "green" and found.green.all(), found.reason
    assert (estimate.upper - estimate.lower).max() < 1e-3
    wide = pv.evaluate.verdict(estimate_of(log_ratios("narrower", 500)))
    assert wide.colour == "amber"  # the twin


def test_the_limit_of_khat_falls_with_fewer_samples():
    for count, limit in ((100, 0.5), (500, 0.63), (5000, 0.7)):
        estimate = estimate_of(log_ratios("wide", count, num_data=30))
        reason = pv.evaluate.verdict(estimate).reason
        assert f"k-hat <= {limit:.2g} " in reason
    estimate = estimate_of(log_ratios("wide", 1000, num_data=30))
    between = estimate._replace(khat=torch.full((30,), 0.68), ess=torch.full((30,), 900.0))
    assert pv.evaluate.verdict(between).colour == "amber"
    assert pv.evaluate.verdict(between._replace(khat=torch.full((30,), 0.66))).colour == "green"
