"""The committed rate is kept."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("rate", [0.05, 0.5, 2.0])
def test_the_committed_rate_is_kept(rate):
    posterior = pv.posteriors.CommittedRateNormal(nn.Identity(), rate)
    q = posterior(torch.randn(10_000, 6) * 5)
    kl = torch.distributions.kl_divergence(q.base_dist, dist.Normal(0.0, 1.0))
    assert float(kl.min()) > rate - 1e-9
    assert float(kl.min()) < rate + 0.2  # it is no more than that
    for root in (posterior.low, posterior.high):
        assert abs((root**2 - 1) / 2 - math.log(root) - rate) < 1e-9
