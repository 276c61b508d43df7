"""The optimal sigma is that of the residuals."""

import pytest
import torch
from checks import build, data_for

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_optimal_sigma_is_that_of_the_residuals():
    torch.set_default_dtype(torch.float32)
    vae, _ = build(
        (
            {"kind": "standard-normal"},
            {"kind": "gaussian", "sigma": "optimal"},
            {"kind": "mean-field-normal"},
        )
    )
    x = 0.3 * data_for("gaussian", 400)
    pv.fit(vae, x, epochs=200, batch_size=100, lr=3e-3, schedule="cosine", progress=False)
    before = vae.likelihood.log_scale.clone()
    with torch.no_grad():
        z = vae.posterior(x).sample((200,))
        residual = (x - vae.likelihood(z).mean).square().mean()
    assert float((2 * before).exp()) == pytest.approx(float(residual), rel=0.05)
    pv.log_marginal(vae, x, 10)
    assert torch.equal(vae.likelihood.log_scale, before)  # frozen in evaluation
