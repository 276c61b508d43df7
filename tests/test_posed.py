"""Pose as latent features: exact turns and shifts, gradients, compiled steps, moved data."""

import math
from dataclasses import replace

import pyro
import pytest
import torch
from checks import bound
from pyro.infer import Trace_ELBO
from pyro.optim import Adam

import pyro_vae as pv
from pyro_vae.config import read_recipe, validate
from pyro_vae.data import as_split, fingerprint, moments
from pyro_vae.nn import MLP, Posed, moved

QUARTER = math.pi / 2


def pose(*numbers, count=3):
    return torch.tensor([numbers]).expand(count, -1)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
@pytest.mark.parametrize("side", [5, 8])
def test_quarters_are_those_of_rot90(quarters, side):
    images = torch.randn(3, 2, side, side)
    turned = moved(images, pose(quarters * QUARTER, 0.0, 0.0))
    torch.testing.assert_close(turned, images.rot90(quarters, (-2, -1)), rtol=0, atol=1e-12)
    if quarters % 2:  # a twin that turns the other way
        assert (turned - images.rot90(-quarters, (-2, -1))).abs().max() > 0.1


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("outside,filled", [("border", None), ("zeros", 0.0)])
def test_a_shift_by_pixels_is_a_roll_inside(outside, filled):
    images = torch.randn(3, 2, 6, 9)
    right = moved(images, pose(0.0, 1.0, 0.0), outside)
    torch.testing.assert_close(right[..., 1:], images.roll(1, -1)[..., 1:], rtol=0, atol=1e-12)
    edge = images[..., 0] if filled is None else torch.zeros(3, 2, 6)
    torch.testing.assert_close(right[..., 0], edge, rtol=0, atol=1e-12)
    down = moved(images, pose(0.0, 0.0, 2.0), outside)
    torch.testing.assert_close(
        down[..., 2:, :], images.roll(2, -2)[..., 2:, :], rtol=0, atol=1e-12
    )
    half = moved(images, pose(0.0, 0.5, 0.0))
    between = (images[..., 1:] + images[..., :-1]) / 2
    torch.testing.assert_close(half[..., 1:], between, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_magnified_three_times():
    images = torch.randn(2, 1, 9, 9)
    large = moved(images, pose(0.0, 0.0, 0.0, math.log(3.0), count=2))
    torch.testing.assert_close(large[..., 1::3, 1::3], images[..., 3:6, 3:6], rtol=0, atol=1e-12)
    both = moved(images, pose(QUARTER, 3.0, 0.0, math.log(3.0), count=2))
    turned = large.rot90(1, (-2, -1)).roll(3, -1)  # turned first, then shifted
    torch.testing.assert_close(both[..., 3:], turned[..., 3:], rtol=0, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_gradients_of_images_and_poses():
    torch.manual_seed(0)
    images, poses = torch.randn(2, 1, 5, 6), 0.3 * torch.randn(2, 4)
    assert torch.autograd.gradcheck(moved, (images.requires_grad_(), poses.requires_grad_()))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("outputs", [1, 9])
def test_a_turned_datum_under_a_turned_pose_is_the_datum(outputs):
    torch.manual_seed(0)
    decoder = Posed(MLP(5, [8], (outputs, 8, 8)))
    likelihood = pv.likelihoods.Bernoulli(decoder, event_dim=3)
    if outputs > 1:  # locations, scales and logits of three components are moved together
        likelihood = pv.likelihoods.DiscretizedLogistic(decoder, 4, 3, event_dim=3)
    z = torch.randn(7, 8)
    z[:, :3] = 0.0
    x = likelihood(z).sample()
    turned = z.clone()
    turned[:, 0] = QUARTER
    log_p = likelihood(turned).log_prob(x.rot90(1, (-2, -1)))
    torch.testing.assert_close(log_p, likelihood(z).log_prob(x), rtol=1e-10, atol=0)
    assert (likelihood(turned).log_prob(x) - likelihood(z).log_prob(x)).abs().max() > 0.1
    for batch in [(), (2,), (5, 2)]:
        assert likelihood(torch.randn(*batch, 8)).sample().shape == (*batch, 1, 8, 8)


def posed_vae():
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.Normal(6, scale=[0.5, 1.0, 1.0, 0.2, 1.0, 1.0]),
        pv.likelihoods.Bernoulli(Posed(MLP(2, [8], (1, 6, 6)), magnified=True), event_dim=3),
        pv.posteriors.MeanFieldNormal(MLP((1, 6, 6), [8], 12)),
    )


def test_compiled_steps_are_those_of_pyro():
    x = torch.bernoulli(torch.full((16, 1, 6, 6), 0.3))
    one, two = posed_vae(), posed_vae()
    eager = pyro.infer.SVI(one.model, one.guide, Adam({"lr": 1e-3}), Trace_ELBO())
    compiled = pv.CompiledSVI(
        two.model, two.guide, torch.optim.Adam, Trace_ELBO(), backend="graph"
    )
    losses: list[list[float]] = []
    for svi in (eager, compiled):
        with pyro.get_param_store().scope():
            torch.manual_seed(1)
            losses.append([float(svi.step(x)) for _ in range(4)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_what_is_refused():
    with pytest.raises(ValueError, match="more than the 3 latent features of the pose; got 3"):
        Posed(MLP(5, [], (1, 4, 4)))(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"decoder of images.*; got outputs of shape \(16,\)"):
        Posed(MLP(5, [], 16))(torch.zeros(2, 8))


def test_digits_are_moved_once_by_the_seed():
    still, data = pv.data.digits(), pv.data.digits(rotate=45, shift=1)
    assert data.train.stored.dtype == torch.uint8 and data.train.levels == 16
    assert fingerprint(data.test) == fingerprint(pv.data.digits(rotate=45, shift=1).test)
    shifted = pv.data.digits(shift=1)
    assert len({fingerprint(d.test) for d in (still, data, shifted)}) == 3
    assert torch.equal(data.test.labels, still.test.labels)
    kept = data.train.stored.double().mean() / still.train.stored.double().mean()
    assert 0.85 < kept < 1  # what leaves the image is lost
    half = pv.data.digits(rotate=10, known={"c": ["left"]})
    assert half.train.x_shape == (32,) and half.train.known["c"].shape == (1500 - 200, 32)
    with pytest.raises(
        ValueError, match=r"Expected images.*for data.rotate.*got x of shape \(10,"
    ):
        pv.data.diabetes(rotate=10)


def test_images_that_move_at_every_visit():
    still, data = pv.data.digits(), pv.data.digits(rotate=45, shift=1, pose="visit")
    rows = slice(0, 50)
    first, second = data.train.rows(rows), data.train.rows(rows)
    assert not torch.equal(first, second) and torch.equal(first, first.round())
    for name in ("valid", "test"):  # these stay
        assert fingerprint(data.splits[name]) == fingerprint(still.splits[name])
    frozen = data.train.freeze(3)
    assert torch.equal(frozen.rows(rows), data.train.freeze(3).rows(rows))
    assert not torch.equal(frozen.stored, data.train.freeze(4).stored)
    state = torch.get_rng_state()
    assert torch.equal(moments(data.train)[0], moments(still.train)[0])
    assert torch.equal(state, torch.get_rng_state())
    prints = {fingerprint(d.train) for d in (still, data, pv.data.digits(shift=1, pose="visit"))}
    assert len(prints) == 3
    with pytest.raises(ValueError, match=r"no region of an image.*got c\. Take"):
        pv.data.digits(rotate=10, pose="visit", known={"c": ["left"]})
    with pytest.raises(ValueError, match="expected rotate or shift beside it"):
        pv.data.digits(pose="visit")


def test_shifts_at_visits_are_uniform():
    dots = torch.zeros(4000, 1, 9, 9)
    dots[:, :, 4, 4] = 1.0
    rows = replace(as_split(dots), pose=(0.0, 2.0, 3.0)).rows(slice(None))[:, 0].double()
    place = torch.arange(9.0).double() - 4
    for axis, most in ((1, 2.0), (2, 3.0)):  # bilinear interpolation keeps the centre
        centre = (rows.sum(axis) * place).sum(1)
        assert centre.abs().max() < most + 1e-4
        assert abs(centre.mean()) < bound(6) * centre.std() / len(dots) ** 0.5
        squares = centre.square()  # of variance most ** 2 / 3
        assert abs(squares.mean() - most**2 / 3) < bound(6) * squares.std() / len(dots) ** 0.5


@pytest.mark.parametrize("name", ["digits-posed", "mnist-posed"])
def test_recipes_with_a_pose(name):
    recipe = validate(read_recipe(name))
    side = 8 if name.startswith("digits") else 28
    x = torch.randint(2, (30, 1, side, side)).float()
    vae = pv.build_vae(recipe, (1, side, side), 1.0, as_split(x))
    assert vae.latents == ("pose", "z") and bool(pv.elbo(vae, x).isfinite().all())
    decoder = vae.likelihood.decoder.net
    assert isinstance(decoder, Posed) and decoder.out_shape == (1, side, side)
    assert decoder.output_bias.count_nonzero() > 0  # starts at the mean of the data
    flat = {**read_recipe("digits-plain"), "latent_dim": 3}
    flat["likelihood"] = {**flat["likelihood"], "decoder": {"kind": "posed"}}
    with pytest.raises(ValueError, match="more latent features than those of the pose"):
        pv.build_vae(validate(flat), (1, 8, 8), 16.0, None)
