"""Only linear-Gaussian VAEs have closed forms."""

import pytest
import torch
from checks import Exact, linear_gaussian

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_only_linear_gaussian_vaes_have_closed_forms():
    for wrong in ((5, 2, -1.0), (5, 2, 0.5, "typo")):
        with pytest.raises(ValueError, match="Expected sigma > 0 and the posterior"):
            linear_gaussian(*wrong)
    vae = linear_gaussian(5, 2, 0.5)
    with torch.device("meta"):  # every tensor is created on the device of the weights
        Exact(vae).log_marginal(torch.zeros(3, 5, device="cpu"))
    vae.likelihood.decoder = pv.nn.MLP(2, [7], 5)
    with pytest.raises(ValueError, match="Expected a linear-Gaussian VAE"):
        Exact(vae)
