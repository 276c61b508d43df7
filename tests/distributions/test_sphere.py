"""Laws on the sphere: normalizers, moments, gradients."""

import math

import pytest
import torch
from checks import bound, z_scores
from scipy.special import ive
from torch.nn.functional import normalize

from pyro_vae import distributions as laws
from pyro_vae.distributions import HypersphereUniform, VonMisesFisher
from pyro_vae.distributions.sphere import log_surface


@pytest.mark.usefixtures("float64")
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


@pytest.mark.usefixtures("float64")
def test_sphere_surfaces():
    for dim, surface in ((1, 2), (2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        assert abs(math.exp(log_surface(dim)) - surface) < 1e-12


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [2, 3, 10])
@pytest.mark.parametrize("kappa", [0.1, 3.0, 200.0])
def test_von_mises_fisher_samples_have_its_moments(dim, kappa):
    law = VonMisesFisher(normalize(torch.randn(dim), dim=-1), torch.tensor(kappa))
    z = law.sample((50_000,))
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-12
    assert z_scores(z, law.mean).abs().max() < bound(2 * dim)
    assert z_scores((z - law.mean) ** 2, law.variance).abs().max() < bound(2 * dim)
    assert z_scores(z, 1.1 * law.mean + 0.05).abs().max() > bound(2 * dim)  # the twin


@pytest.mark.usefixtures("float64")
@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 3, 10])
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


def single(values):
    return torch.tensor(values, dtype=torch.float32)


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
