"""Free parameters for every datum."""

import pytest
import torch
from checks import B, Exact, build, linear_gaussian
from torch import nn

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_rows_that_were_not_trained_are_refused():
    vae, x = build(({"kind": "standard-normal"}, {"kind": "gaussian"}, {"kind": "per-datum"}))
    with pytest.raises(ValueError, match="Expected row numbers of training data"):
        pv.elbo(vae, x)
    with pytest.raises(ValueError, match="row numbers, below 8"):
        pv.elbo(vae, x, index=torch.arange(B) + 1)
    with pytest.raises(ValueError, match="no validation data"):
        pv.fit(vae, x, valid=x, progress=False)


def test_free_parameters_for_every_datum_reach_the_exact_posterior():
    """Classical SVI: no amortization gap, so the bound is the closed form's best."""
    vae = linear_gaussian(4, 2, 0.6)
    exact = Exact(vae)
    x = exact.marginal.sample((30,))
    vae.posterior = pv.posteriors.PerDatum(
        pv.posteriors.FullCovarianceNormal(nn.Embedding(30, 5), 2)
    )
    vae.likelihood.requires_grad_(False)
    pv.fit(vae, x, epochs=1000, lr=5e-2, schedule="cosine", estimator="stl", progress=False)
    bound_ = pv.elbo(vae, x, 200, index=torch.arange(30))
    gap = exact.marginal.log_prob(x) - bound_
    assert float(gap.mean()) < 1e-4
