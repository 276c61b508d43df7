"""Curves of rate against distortion."""

import copy

import pytest
import torch
from checks import exact_vae

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")


def test_rate_distortion_curve():
    torch.manual_seed(0)
    vae, exact, x = exact_vae("mean-field", count=500)
    before = copy.deepcopy(vae.state_dict())
    curve = pv.rate_distortion_curve(vae, x, x, (0.1, 1.0, 10.0), epochs=30, lr=1e-2)
    rates = [float(point.rate) for point in curve.values()]
    distortions = [float(point.distortion) for point in curve.values()]
    assert rates[0] > rates[1] > rates[2] and distortions[0] < distortions[1] < distortions[2]
    assert all(torch.equal(a, b) for a, b in zip(before.values(), vae.state_dict().values()))
