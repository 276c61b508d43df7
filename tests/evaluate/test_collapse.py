"""Active units, rates and information against closed forms."""

import math

import numpy as np
import pytest
import torch
from checks import bound, exact_vae, linear_gaussian, z_scores
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

import pyro_vae as pv
from pyro_vae.evaluate import CollapseWatch, active_units, information, rate_distortion

pytestmark = pytest.mark.usefixtures("float64")


def test_active_units_are_the_eigenvalues_above_the_noise():
    """Probabilistic PCA with sigma fixed: what lies below the noise is not encoded."""
    x = torch.from_numpy(load_digits().data / 16)
    values = PCA().fit(x.numpy()).explained_variance_
    variance = 0.3
    assert np.abs(values / variance - 1).min() > 0.02
    torch.manual_seed(0)
    vae = linear_gaussian(64, 10, variance**0.5)
    vae.likelihood.decoder.layers[0].bias.data.copy_(x.mean(0))
    pv.fit(vae, x, epochs=500, batch_size=len(x), lr=3e-2, schedule="cosine", progress=False)
    active = int((active_units(vae, x) > 0.01).sum())
    assert active == int((values > variance).sum()) == 4


@pytest.mark.slow
def test_a_forced_collapse_is_announced():
    """The warning comes five epochs before the first unit dies, and long before the last."""
    torch.set_default_dtype(torch.float32)
    x = pv.data.load(pv.config.Digits()).train
    for epochs, kl_weight, collapses in ((40, 100.0, True), (20, 1.0, False)):
        torch.manual_seed(0)
        vae = pv.VAE(
            pv.priors.StandardNormal(8),
            pv.likelihoods.Binomial(pv.nn.MLP(8, [64], (1, 8, 8)), 16, event_dim=3),
            pv.posteriors.MeanFieldNormal(pv.nn.MLP((1, 8, 8), [64], 2 * 8)),
        )
        history = pv.fit(
            vae, x, epochs=epochs, kl_weight=kl_weight, kl_warmup_epochs=epochs, progress=False
        )
        warnings = [row["epoch"] for row in history.rows if "warning" in row]
        units = history["active_units"]
        if collapses:
            first_death = next(e for e, n in enumerate(units, 1) if n < 8)
            last_death = next(e for e, n in enumerate(units, 1) if n == 0)
            assert warnings[0] <= first_death - 5 and warnings[0] <= last_death - 5
        else:
            assert units[-1] == 8 and not warnings


def test_the_watch_needs_a_lasting_fall():
    watch = CollapseWatch()
    up_and_down = [torch.tensor([1.0, v]) for v in (0.5, 0.1, 0.2, 0.05, 0.1, 0.03, 0.05)]
    assert all(watch.update(activity) is None for activity in up_and_down)
    slow = CollapseWatch()
    assert all(slow.update(torch.tensor([0.999**i])) is None for i in range(20))


def test_rate_and_distortion_are_minus_the_elbo():
    vae, exact, x = exact_vae("mean-field")
    split = rate_distortion(vae, x, 1, seed=3)
    torch.testing.assert_close(
        split.rate + split.distortion, -pv.elbo(vae, x, 1, seed=3).mean(), rtol=0, atol=1e-5
    )
    q = vae.posterior(x).base_dist
    p = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(q, p).mean(0).detach()
    torch.testing.assert_close(split.by_feature, kl)
    many = torch.stack([rate_distortion(vae, x, 5, seed=s).rate for s in range(50)])
    assert z_scores(many, float(kl.sum())).abs() < bound(1)
    sites = torch.stack([rate_distortion(vae, x, 1, seed=s).by_site["z"] for s in range(100)])
    assert z_scores(sites, float(kl.sum())).abs() < bound(1)


def test_information_of_a_linear_gaussian_model():
    """With the exact posterior, I(x; z) = 1/2 log det(I + W'W / sigma^2), and q(z) = p(z)."""
    vae, exact, _ = exact_vae("full")
    x = exact.marginal.sample((2000,))
    told = information(vae, x)
    expected = 0.5 * float(torch.logdet(exact.precision))
    assert abs(float(told.mutual_information) - expected) < 0.1
    assert abs(float(told.marginal_kl)) < 0.1
    assert 0 <= float(told.holes) < 0.03
    assert told.cap == math.log(2000) and not told.saturated
    rate = float(rate_distortion(vae, x, 20).rate)
    assert abs(float(told.mutual_information + told.marginal_kl) - rate) < 0.1
    few = information(vae, x, 4)
    assert few.mutual_information <= few.cap + 1e-9
    vae.prior = pv.priors.Normal(2, loc=3.0)
    beside = information(vae, x)
    assert float(beside.holes) > 0.3 and float(beside.marginal_kl) > 5
    vae.posterior = pv.posteriors.IAF(pv.nn.MLP(5, [8], 2 * 2 + 4), 2, context_features=4)
    assert math.isfinite(float(information(vae, x, 50).marginal_kl))
