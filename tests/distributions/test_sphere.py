"""Laws on the sphere: normalizers, moments, gradients."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from checks import bound, z_scores
from scipy.special import ive
from torch.nn.functional import normalize

from pyro_vae import distributions as laws
from pyro_vae.distributions import HypersphereUniform, VonMisesFisher
from pyro_vae.distributions.sphere import log_surface


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [2, 3, 5, 20, 51, 100])
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
@pytest.mark.parametrize("dim", [2, 3, 10, 50])
@pytest.mark.parametrize("kappa", [0.1, 3.0, 200.0])
def test_von_mises_fisher_samples_have_its_moments(dim, kappa):
    law = VonMisesFisher(normalize(torch.randn(dim), dim=-1), torch.tensor(kappa))
    z = law.sample((20_000,))
    assert (z.norm(dim=-1) - 1).abs().max() < 1e-12
    assert z_scores(z, law.mean).abs().max() < bound(2 * dim)
    assert z_scores((z - law.mean) ** 2, law.variance).abs().max() < bound(2 * dim)
    assert z_scores(z, 1.1 * law.mean + 0.05).abs().max() > bound(2 * dim)  # the twin


def law_of(kappa, dim):
    """Around the first axis."""
    return VonMisesFisher(torch.eye(dim)[0], torch.tensor(kappa))


def angles_of(z, loc):
    return 2 * ((z - loc).norm(dim=-1) / 2).asin()


def share_within(law, angle):
    """The density, integrated over the cap of directions up to an angle."""
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(200))
    ring = angle[:, None] * (nodes + 1) / 2
    z = torch.zeros(*ring.shape, law.dim)
    z[..., 0], z[..., 1] = ring.cos(), ring.sin()
    around = log_surface(law.dim - 1) + (law.dim - 2) * ring.sin().log()
    return ((law.log_prob(z) + around).exp() * weights).sum(-1) * angle / 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [2, 3, 5, 10, 50, 100])
@pytest.mark.parametrize("kappa", [1e-6, 20.0, 1e4])
def test_von_mises_fisher_angles_are_quantiles(dim, kappa):
    """Within the angle of a draw lies the uniform number that it came from."""
    law = law_of(kappa, dim)
    z = law.sample((100,))
    torch.manual_seed(0)
    u = torch.rand(100)
    angle = angles_of(z, law.loc)
    torch.testing.assert_close(share_within(law, angle), u, rtol=1e-10, atol=1e-11)
    whole = (3 * angle.max()).clamp(max=math.pi - 1e-9)
    assert float(share_within(law, whole[None])) == pytest.approx(1.0, abs=1e-9)
    other = law_of(1.01 * kappa + 0.01, dim)  # the twin
    assert (share_within(other, angle) - u).abs().max() > 1e-5


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("kappa", [1e-3, 1.0, 50.0, 1e4])
def test_von_mises_fisher_cosines_have_their_distribution(dim, kappa):
    """Kolmogorov and Smirnov's test, of the angle on a circle and of the cosine in space."""
    law = law_of(kappa, dim)
    z = law.sample((20_000,))

    def p_value(kappa):
        if dim == 2:
            turn = torch.atan2(z[:, 1], z[:, 0])
            return scipy.stats.kstest(turn, scipy.stats.vonmises(kappa).cdf).pvalue
        short = (z - law.loc).square().sum(-1) / 2
        exact = lambda t: np.expm1(-kappa * t) / math.expm1(-2 * kappa)  # noqa: E731
        return scipy.stats.kstest(short, exact).pvalue

    assert p_value(kappa) > 1e-5
    assert p_value(1.3 * kappa + 0.2) < 1e-5  # the twin


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [2, 3, 10])
def test_von_mises_fisher_draws_move_as_their_gradients_say(dim):
    """Under one seed, against finite differences in mean direction and concentration."""

    def draw(direction, kappa):
        torch.manual_seed(1)
        return VonMisesFisher(normalize(direction, dim=-1), kappa).rsample((2,))

    kappa = torch.tensor([0.2, 4.0, 300.0])
    arguments = torch.randn(3, dim).requires_grad_(), kappa.requires_grad_()
    assert torch.autograd.gradcheck(draw, arguments, rtol=1e-5, atol=1e-7)


def test_von_mises_fisher_takes_as_many_random_numbers_always():
    states = []
    for kappa in (1e-4, 1.0, 1e6):
        torch.manual_seed(0)
        law_of(kappa, 5).sample((100,))
        states.append(torch.get_rng_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [2, 3, 10, 100])
def test_von_mises_fisher_at_the_ends_of_the_uniform(dim, dtype, monkeypatch):
    """The lowest and the highest number that it can be: the draw and its gradient are finite."""
    kappa = torch.logspace(-20, 8, 57, dtype=dtype).requires_grad_()
    law = VonMisesFisher(torch.eye(dim, dtype=dtype)[0].expand(57, dim), kappa)
    for end in (0.0, 1 - torch.finfo(dtype).eps / 2):
        with monkeypatch.context() as patch:
            patch.setattr(
                torch, "rand", lambda shape, **options: torch.full(shape, end, **options)
            )
            z = law.rsample()
        torch.testing.assert_close(z.norm(dim=-1), torch.ones_like(kappa))
        assert torch.autograd.grad(z.sum(), kappa, retain_graph=True)[0].isfinite().all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dim", [2, 3, 10])
def test_von_mises_fisher_gradients_are_unbiased(dim):
    """d/dkappa E[f(z)] of f = z' mu and its square; without the implicit term it is zero."""
    kappa = torch.full((10_000,), 4.0).requires_grad_()
    mean = torch.zeros(dim)
    mean[0] = 1.0
    law = VonMisesFisher(mean.expand(10_000, dim), kappa)
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
