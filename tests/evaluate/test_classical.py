"""Classical references against exact answers."""

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from pyro_vae.evaluate import bernoulli_mixture, factor_analysis, independent_pixels, ppca

pytestmark = pytest.mark.usefixtures("float64")


def test_classical_references():
    x = torch.from_numpy(load_digits().data)
    train, test = x[:1500] / 16, x[1500:] / 16
    model = PCA(10).fit(train.numpy())
    ours = ppca(train, test, 10).mean()
    assert abs(float(ours) - model.score(test.numpy())) < 0.01  # theirs divides by N - 1
    assert factor_analysis(train + 0.1 * torch.randn_like(train), test, 10).mean() > -100
    with pytest.raises(ValueError, match="Expected levels"):
        independent_pixels(train, test)
    with pytest.raises(ValueError, match="from 1 to 63"):
        ppca(train, test, 64)
    with pytest.raises(ValueError, match="Expected bits"):
        bernoulli_mixture(x, x)


def test_factor_analysis_recovers_its_own_model():
    torch.manual_seed(0)
    w, noise = torch.randn(8, 3), 0.2 + torch.rand(8)
    covariance = w @ w.T + noise.diag()
    truth = torch.distributions.MultivariateNormal(torch.ones(8), covariance)
    train, test = truth.sample((5000,)), truth.sample((2000,))
    best = truth.log_prob(test).mean()
    fitted = factor_analysis(train, test, 3).mean()
    assert best - 0.03 < fitted < best + 0.01 and fitted > ppca(train, test, 3).mean() + 0.05


def test_discrete_references_sum_to_one():
    torch.manual_seed(0)
    train = torch.bernoulli(torch.rand(6).expand(300, 6))
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)
    for log_p in (independent_pixels(train, every), bernoulli_mixture(train, every, 4)):
        assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-9)
    levels = torch.randint(4, (300, 2)).double()
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 2)
    assert float(independent_pixels(levels, grid).exp().sum()) == pytest.approx(1.0, abs=1e-9)
    twins = torch.cat([torch.zeros(200, 6), torch.ones(200, 6)])  # two clusters
    mixture, single = bernoulli_mixture(twins, twins, 5), independent_pixels(twins, twins)
    assert mixture.mean() > single.mean() + 2
