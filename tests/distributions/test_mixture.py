"""Mixtures of Normals: density, moments, and finite gradients far out."""

import pytest
import torch
from checks import bound, z_scores

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_mixtures_of_one_feature_and_of_many_shapes():
    law = pv.distributions.DiagonalNormalMixture(
        torch.randn(5, 3, 2), torch.rand(5, 3, 2) + 0.5, torch.randn(5, 3)
    )
    assert law.rsample((7, 2)).shape == (7, 2, 5, 2) and law.expand((4, 5)).rsample().shape == (
        4,
        5,
        2,
    )
    one = pv.distributions.DiagonalNormalMixture(
        torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.3], [0.8]]), torch.tensor([0.2, -0.4])
    )
    z = one.rsample((200_000,))
    assert z_scores(z, one.mean).abs() < bound(2)
    assert z_scores((z - one.mean).square(), one.variance).abs() < bound(2)
    grid = torch.linspace(-8, 8, 4001)[:, None]
    assert abs(float(one.log_prob(grid).exp().sum() * 16 / 4000) - 1) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixture_gradients_are_finite_far_out(dtype):
    """Components that are far, narrow or without weight."""
    loc = torch.tensor([[-50.0, 0.0], [50.0, 3.0], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    scale = torch.tensor([[1e-3, 1.0], [5.0, 1e-2], [1.0, 1.0]], dtype=dtype, requires_grad=True)
    logits = torch.tensor([0.0, 1.0, -60.0], dtype=dtype, requires_grad=True)
    law = pv.distributions.DiagonalNormalMixture(loc, scale, logits)
    z = law.rsample((10_000,))
    assert z.dtype == dtype
    found = torch.autograd.grad(z.sin().sum(), [loc, scale, logits])
    assert all(g.isfinite().all() for g in found)
