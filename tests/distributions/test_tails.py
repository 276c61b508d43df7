"""Tails of Normal, Laplace and Student's t: against SciPy and by integration."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, stats

from pyro_vae.distributions import StudentT
from pyro_vae.distributions.tails import excess, log_tail

ZERO, ONE = torch.tensor(0.0), torch.tensor(1.0)
Y = np.array([-1e4, -60.0, -7.0, -1.0, -1e-3, 0.0, 0.3, 1.0, 2.5, 8.0, 38.0, 1e3, 1e8])
DF = [0.01, 0.3, 1.0, 1.7, 3.0, 12.0, 300.0, 1e6]


def standard(kind, df=4.0):
    if kind == "normal":
        return dist.Normal(ZERO.double(), ONE.double()), stats.norm()
    if kind == "laplace":
        return dist.Laplace(ZERO.double(), ONE.double()), stats.laplace()
    return StudentT(torch.tensor(df).double(), ZERO.double(), ONE.double()), stats.t(df)


KINDS = [("normal", 0.0), ("laplace", 0.0), *(("student-t", df) for df in DF)]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind,df", KINDS)
def test_log_tails_are_those_of_scipy(kind, df):
    ours, exact = standard(kind, df)
    found = log_tail(ours, torch.tensor(Y)).numpy()
    with np.errstate(divide="ignore"):
        truth = exact.logsf(Y)
    known = np.isfinite(truth) & (truth > -700)  # SciPy's t ends there
    np.testing.assert_allclose(found[known], truth[known], rtol=3e-8, atol=1e-12)
    assert np.isfinite(found).all() and (np.diff(found) <= 0).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind,df", KINDS)
def test_the_slope_of_a_tail_is_the_density(kind, df):
    ours, _ = standard(kind, df)
    y = torch.tensor([-30.0, -2.0, 0.0, 0.7, 5.0, 25.0]).requires_grad_()
    value = log_tail(ours, y)
    (slope,) = torch.autograd.grad(value.sum(), y)
    density = -(ours.log_prob(y) - value).exp()
    torch.testing.assert_close(slope, density.detach(), rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("df", DF[1:-1])
def test_tails_have_the_gradient_of_the_degrees_of_freedom(df):
    y, step = torch.tensor([-3.0, 0.5, 4.0, 90.0]), 1e-4 * df
    nu = torch.tensor(df).requires_grad_()
    law = StudentT(nu, ZERO.double(), ONE.double())
    value = log_tail(law, y)
    found = [float(torch.autograd.grad(v, nu, retain_graph=True)[0]) for v in value]
    by_hand = (stats.t.logsf(y, df + step) - stats.t.logsf(y, df - step)) / (2 * step)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind,df", [("normal", 0.0), ("laplace", 0.0), ("student-t", 3.5)])
def test_excesses_are_integrals_of_tails(kind, df):
    ours, exact = standard(kind, df)
    for y in (-40.0, -1.3, 0.0, 0.8, 4.0):
        one, two = (float(v) for v in excess(ours, torch.tensor(y)))
        first = integrate.quad(exact.sf, y, max(y, 0) + 3)[0]
        first += integrate.quad(exact.sf, max(y, 0) + 3, np.inf)[0]
        assert one == pytest.approx(first, rel=1e-7)
        weighed = lambda s, y=y: 2 * (s - y) * exact.sf(s)  # noqa: E731
        second = integrate.quad(weighed, y, max(y, 0) + 3)[0]
        second += integrate.quad(weighed, max(y, 0) + 3, np.inf)[0]
        assert two == pytest.approx(second, rel=1e-6)


@pytest.mark.parametrize("kind", ["normal", "laplace", "student-t"])
@pytest.mark.parametrize("level", [-1e15, -1e4, -40.0, 0.0, 40.0, 1e4, 1e15])
def test_tails_far_out_are_finite_in_single_precision(kind, level):
    y = torch.tensor(level).requires_grad_()
    df = torch.tensor(3.0).requires_grad_()
    law = {
        "normal": dist.Normal(ZERO, ONE),
        "laplace": dist.Laplace(ZERO, ONE),
        "student-t": StudentT(df, ZERO, ONE),
    }[kind]
    value = log_tail(law, y)
    assert value.isfinite() and value <= 0
    assert torch.autograd.grad(value, y)[0].isfinite()
    assert level < 1 or float(value.detach()) < -math.log(2)
