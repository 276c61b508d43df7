"""The losses of a GAN in cases that are known, and what its steps move."""

import math

import pytest
import torch
from torch import nn

import pyro_vae as pv
from pyro_vae.gallery import GAN

LINEAR = {"hidden_features": ()}


def test_a_critic_that_knows_nothing_loses_two_bits_and_pays_for_its_slope():
    gan = GAN((3,), penalty=0.4, x_scale=2.0, **LINEAR)
    layer = gan.critic.layers[0]
    nn.init.zeros_(layer.weight)
    x = torch.randn(50, 3)
    torch.testing.assert_close(gan.critic_loss(x), torch.full((50,), 2 * math.log(2)))
    torch.testing.assert_close(gan.loss(x), torch.full((50,), math.log(2)))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0.0, 4.0]]))
    torch.manual_seed(0)
    with_penalty = gan.critic_loss(x)
    gan.penalty = 0.0
    torch.manual_seed(0)
    torch.testing.assert_close(with_penalty - gan.critic_loss(x), torch.full((50,), 0.2 * 25))


def test_spectral_norms_are_one():
    gan = GAN((6,), smooth="spectral-norm", hidden_features=(16, 16))
    for _ in range(50):
        gan.critic_loss(torch.randn(4, 6))
    for layer in gan.critic.layers:
        if isinstance(layer, nn.Linear):
            assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(
                1, abs=1e-3
            )


@pytest.mark.parametrize("smooth", ["spectral-norm", "gradient-penalty"])
def test_a_step_moves_each_network_by_its_own_loss(smooth):
    gan = GAN((2,), hidden_features=(8,), smooth=smooth)
    moved = []

    def update(loss, parameters):
        parameters = [*parameters]
        slopes = torch.autograd.grad(loss, parameters)
        moved.append({id(p) for p in parameters})
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes):
                parameter -= 0.1 * slope
        return torch.stack([s.norm() for s in slopes]).norm()

    loss, critic_loss, norm = gan.step(torch.randn(10, 2), update)
    parts = [{id(p) for p in net.parameters()} for net in (gan.critic, gan.generator)]
    assert moved == parts and parts[0] | parts[1] == {id(p) for p in gan.parameters()}
    assert all(v.shape == () and v.isfinite() for v in (loss, critic_loss, norm))


def test_samples_are_in_their_range_and_begin_at_the_mean():
    bounded = GAN((1, 4, 4), bounded=True, x_scale=16.0).sample(20)
    assert bounded.shape == (20, 1, 4, 4) and bounded.min() >= 0 and bounded.max() <= 16
    around = GAN((2,), x_scale=3.0, x_mean=torch.tensor([60.0, -60.0])).sample(500)
    assert (around.mean(0) - torch.tensor([60.0, -60.0])).abs().max() < 6  # of sixty
    with pytest.raises(pv.gallery.Lacking, match=r"A gan has no log p\(x\)"):
        GAN((2,)).log_prob(torch.zeros(1, 2))
