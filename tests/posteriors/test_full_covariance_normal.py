"""The density of full covariances is the one that they say."""

import pytest
import torch

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_full_covariance_is_the_density_it_says():
    posterior = pv.posteriors.FullCovarianceNormal(pv.nn.MLP(4, [8], 9), 3)
    x, z = torch.randn(4), torch.randn(3)
    out = posterior.encoder(x)
    tril = torch.zeros(3, 3)
    tril[0, 0], tril[1, 0], tril[1, 1], tril[2, 0], tril[2, 1], tril[2, 2] = out[3:]
    tril = tril.tril(-1) + tril.diagonal().exp().diag()
    expected = torch.distributions.MultivariateNormal(out[:3], covariance_matrix=tril @ tril.T)
    torch.testing.assert_close(posterior(x).log_prob(z), expected.log_prob(z))
