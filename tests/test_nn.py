"""Networks: convolutions and activations."""

import pytest
import torch
from checks import WHOLE, L, data_for, name_of, recipe_for, variants

import pyro_vae as pv
from pyro_vae.data import as_split

CONV = {"kind": "conv", "channels": [3, 4], "hidden_features": 8}
ELEMENTWISE = [kind for kind in variants("likelihood") if kind["kind"] not in WHOLE]


@pytest.mark.parametrize("likelihood", ELEMENTWISE, ids=lambda k: name_of((k,)))
@pytest.mark.parametrize("side", [8, 28, 32])
def test_convolutions(likelihood, side):
    shape = (2, side, side)
    vamp, posterior = {"kind": "vamp", "num_components": 2}, {"kind": "full-covariance-normal"}
    x = data_for(likelihood["kind"], 3, shape)
    recipe = recipe_for(vamp, likelihood, posterior, CONV)
    vae = pv.build_vae(recipe, shape, 1.0, as_split(x))
    for batch in [(), (2,), (5, 2)]:
        assert vae.likelihood(torch.randn(*batch, L))().shape == (*batch, *shape)
        assert vae.posterior(x[0].expand(*batch, *shape))().shape == (*batch, L)
    pv.objectives.ELBO(3)(vae.model, vae.guide, x).loss.backward()
    still = [
        n for n, p in vae.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0
    ]
    assert not still


def test_convolutions_refuse_odd_sides():
    with pytest.raises(ValueError, match="sides that 4 divides"):
        pv.nn.ConvEncoder((1, 30, 28), 4)


def test_activations_by_any_name():
    assert pv.nn.find_activation("SILU") is torch.nn.SiLU
    with pytest.raises(ValueError, match="Did you mean ReLU"):
        pv.nn.find_activation("ReLUU")


@pytest.mark.parametrize("make", [lambda **o: pv.nn.MLP((1, 8, 8), [7], 4, **o),
                                  lambda **o: pv.nn.ConvEncoder((1, 8, 8), 4, **o)])  # fmt: skip
def test_scale_divides_the_input(make):
    x = 16 * torch.rand(5, 1, 8, 8)
    torch.manual_seed(0)
    scaled = make(scale=16)
    torch.manual_seed(0)
    plain = make()
    assert torch.equal(scaled(x), torch.nn.Sequential(pv.nn.Divide(16), plain)(x))
    assert scaled.state_dict().keys() == plain.state_dict().keys()  # as in checkpoints before


def test_scale_of_a_split_is_that_of_its_levels():
    assert pv.data.digits().train.scale == 16 and pv.data.digits(range="unit").train.scale == 1


@pytest.mark.parametrize("hidden", [[7], []])
def test_what_data_share_is_multiplied_once(hidden):
    torch.manual_seed(0)
    net = pv.nn.MLP(5 + 3, hidden, 2, scale=2.0).double()
    join = pv.nn.Join(net, (1, 1))
    x, y = torch.randn(4, 5).double(), torch.randn(6, 4, 3).double()
    whole = net(torch.cat([x.expand(6, 4, 5), y], -1))
    torch.testing.assert_close(join((x, y)), whole)
    torch.testing.assert_close(
        join((x, y[:, :1])), net(torch.cat([x.expand(6, 4, 5), y[:, :1].expand(6, 4, 3)], -1))
    )
    rows = []
    net.layers[0].register_forward_hook(lambda layer, inputs, output: rows.append(len(inputs[0])))
    torch.testing.assert_close(join((x, y)), whole)  # a hook sees the joined vectors
    assert rows == [6]


def test_parts_of_the_wrong_width_are_an_error():
    join = pv.nn.Join(pv.nn.MLP(8, [7], 2), (1, 1))
    with pytest.raises(RuntimeError):
        join((torch.zeros(4, 5), torch.zeros(6, 4, 2)))


def test_pooled_convolutions_drop_features_in_training_alone():
    torch.manual_seed(0)
    net = pv.nn.PooledEncoder((2, 8, 12), 4, (3, 5), dropout=0.5)
    x = torch.rand(6, 7, 2, 8, 12)
    assert net(x).shape == (6, 7, 4) and not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    torch.testing.assert_close(net(x[2, 3]), net(x)[2, 3])
    with pytest.raises(ValueError, match="sides that 4 divides"):
        pv.nn.PooledEncoder((1, 30, 28), 4)
