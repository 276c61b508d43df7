"""Paths between latent variables: ends, lengths and angles are exact."""

import pytest
import torch
from kinds import KINDS
from torch import nn

import pyro_vae as pv
from pyro_vae.views import between, decode, encode


@pytest.mark.parametrize("how", ["linear", "great-circle"])
def test_ends_are_those_given(how):
    a, b = torch.randn(2, 5, 4)
    path = between(a, b, 7, how)
    assert path.shape == (5, 7, 4)
    assert torch.equal(path[:, 0], a) and torch.equal(path[:, -1], b)


def test_a_line_is_even():
    a, b = torch.randn(2, 5, 4).double()
    path = between(a, b, 5)
    torch.testing.assert_close(path[:, 2], (a + b) / 2)
    torch.testing.assert_close(path.diff(dim=1), ((b - a) / 4)[:, None].expand(5, 4, 4))


def test_a_great_circle_keeps_the_norm_and_turns_evenly():
    a, b = torch.randn(2, 5, 4).double()
    b = b * (a.norm(dim=1) / b.norm(dim=1))[:, None]
    path = between(a, b, 9, "great-circle")
    torch.testing.assert_close(path.norm(dim=-1), a.norm(dim=1)[:, None].expand(5, 9))
    cosine = torch.cosine_similarity(path[:, 1:], path[:, :-1], dim=-1)
    whole = torch.cosine_similarity(a, b, dim=-1).acos() / 8
    torch.testing.assert_close(cosine.acos(), whole[:, None].expand(5, 8))
    line = between(a, b, 9)
    assert bool((line[:, 4].norm(dim=-1) < a.norm(dim=1) - 1e-3).all())  # a chord is shorter


def test_lengths_that_differ_change_evenly():
    path = between(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]]), 5, "great-circle")[0]
    torch.testing.assert_close(path.norm(dim=-1), torch.tensor([2.0, 2.5, 3.0, 3.5, 4.0]))
    torch.testing.assert_close(path[2], torch.tensor([3.0, 3.0]) / 2**0.5)


def test_circles_that_are_not_there():
    one = torch.tensor([[1.0, 0.0]])
    with pytest.raises(ValueError, match="not opposite"):
        between(one, -2 * one, 3, "great-circle")
    with pytest.raises(ValueError, match="a direction"):
        between(one, 0 * one, 3, "great-circle")
    with pytest.raises(ValueError, match="'linear' or 'great-circle'"):
        between(one, one, 3, "curved")
    same = between(one, 3 * one, 3, "great-circle")[0]
    torch.testing.assert_close(same, torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]))


def test_data_between_data():
    kind = KINDS["plain"]()
    a, b = kind.x[:3], kind.x[3:6]
    x = pv.interpolate(kind.vae, a, b, 5)
    ends = [decode(kind.vae, encode(kind.vae, e).loc) for e in (a, b)]
    assert x.shape == (3, 5, 6)
    torch.testing.assert_close(x[:, 0], ends[0])
    torch.testing.assert_close(x[:, -1], ends[1])


def test_what_is_known_stays():
    kind = KINDS["conditional"]()
    c = kind.known["c"][:3]
    x = pv.interpolate(kind.vae, kind.x[:3], kind.x[3:6], 4, c=c)
    torch.testing.assert_close(
        x[:, 0], decode(kind.vae, encode(kind.vae, kind.x[:3], c=c).loc, c=c)
    )
    kind = KINDS["semi-supervised"]()
    with pytest.raises(ValueError, match="got y, on one-hot blocks"):
        pv.interpolate(kind.vae, kind.x[:2], kind.x[2:4], 3)
    y = torch.eye(3)[[0, 2]]
    assert pv.interpolate(kind.vae, kind.x[:2], kind.x[2:4], 3, y=y).shape == (2, 3, 6)
    with pytest.raises(ValueError, match="2 steps at least"):
        pv.interpolate(kind.vae, kind.x[:2], kind.x[2:4], 1, y=y)
    with pytest.raises(ValueError, match="got 2 and 1 rows"):
        pv.interpolate(KINDS["plain"]().vae, kind.x[:2], kind.x[:1])


def test_a_sphere_is_not_left():
    vae = pv.VAE(
        pv.priors.HypersphereUniform(3),
        pv.likelihoods.Gaussian(nn.Linear(3, 4)),
        pv.posteriors.VonMisesFisher(nn.Linear(4, 4)),
    )
    x = torch.randn(4, 4)
    with pytest.raises(ValueError, match="which lies on a sphere"):
        pv.interpolate(vae, x[:2], x[2:])
    assert pv.interpolate(vae, x[:2], x[2:], 3, "great-circle").shape == (2, 3, 4)
