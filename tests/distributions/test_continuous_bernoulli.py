"""Continuous Bernoullis near one half and far from it."""

import pytest
import torch
from checks import bound, z_scores

from pyro_vae.distributions import ContinuousBernoulli

pytestmark = pytest.mark.usefixtures("float64")


def test_continuous_bernoulli_near_zero_and_far():
    f = torch.tensor([-500.0, -30.0, -3.0, -0.01, -0.005, 0.0, 0.005, 0.0101, 2.0, 500.0])
    law = ContinuousBernoulli(f.requires_grad_())
    x = torch.full((10,), 0.3)
    (gradient,) = torch.autograd.grad(law.log_prob(x).sum(), f)
    torch.testing.assert_close(gradient, x - law.mean, rtol=1e-6, atol=1e-8)
    drawn = law.sample((100_000,))
    assert z_scores((drawn - law.mean) ** 2, law.variance).detach().abs().max() < bound(10)
