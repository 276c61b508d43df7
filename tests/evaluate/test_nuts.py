"""NUTS agrees with exact posteriors, from every kind of prior."""

import math

import pytest
import torch
from checks import bound, exact_vae, gamma_poisson, shifted
from pyro.infer import MCMC, NUTS

import pyro_vae as pv
from pyro_vae.evaluate import nuts_posterior

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.slow
def test_nuts_agrees_with_the_exact_posterior_and_flags_a_narrow_one():
    vae, exact, x = exact_vae("full", count=1)
    gold = nuts_posterior(vae, x, 600)
    chain = gold.samples[:, 0]
    z = (chain.mean(0) - exact.posterior_mean(x)[0]) / (chain.std(0) / gold.ess[0].sqrt())
    assert z.abs().max() < bound(2)
    assert gold.rhat.max() < 1.05 and gold.z.max() < 4
    assert (gold.scale_ratio - 1).abs().max() < 0.25
    narrow = nuts_posterior(shifted(vae, log_scale=math.log(0.5)), x, 300)
    assert (narrow.scale_ratio < 0.65).all() and narrow.z.min() > 4


@pytest.mark.slow
def test_nuts_on_a_half_line():
    program, x, _ = gamma_poisson()
    gold = nuts_posterior(program, x[3:4], 600)
    z = gold.samples[:, 0, 0].exp()  # p(z | x) = Gamma(3 + x, 1.5)
    mean, sd = 6 / 1.5, math.sqrt(6) / 1.5
    assert abs(float(z.mean()) - mean) < bound(1) * sd / float(gold.ess[0]) ** 0.5


@pytest.mark.slow  # `test_nuts_agrees_with_the_exact_posterior...` is its sibling in `make test`
def test_nuts_finds_the_posterior_that_the_closed_form_gives():
    vae, exact, x = exact_vae(count=1)
    x = x[:1]
    mcmc = MCMC(NUTS(vae.model), num_samples=600, warmup_steps=200, disable_progbar=True)
    mcmc.run(x)
    z = mcmc.get_samples()["z"][:, 0]
    scale = exact.covariance.diagonal().sqrt()
    assert ((z.mean(0) - exact.posterior_mean(x)[0]) / scale).abs().max() < 0.25
    assert (z.std(0) / scale - 1).abs().max() < 0.25


def test_nuts_starts_from_a_vamp_prior():
    posterior = pv.posteriors.MeanFieldNormal(pv.nn.MLP(4, [8], 4))
    vae = pv.VAE(
        pv.priors.Vamp(posterior, torch.randn(3, 4)),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], 4)),
        posterior,
    )
    mcmc = MCMC(NUTS(vae.model), num_samples=20, warmup_steps=20, disable_progbar=True)
    mcmc.run(torch.randn(2, 4))
    assert mcmc.get_samples()["z"].isfinite().all()
