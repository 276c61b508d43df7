"""Draws side by side: what is held stays as it is to the bit, and nothing else does."""

import pytest
import torch
from kinds import KINDS

import pyro_vae as pv
from pyro_vae.views import sample_held, sample_under


@pytest.mark.parametrize("kind", ["bottom-up", "top-down", "with a net"])
@pytest.mark.parametrize("held", ["z2", "z1"])
def test_held_latents_are_the_same_to_the_bit(kind, held):
    vae = KINDS[kind]().vae
    found = sample_held(vae, [held], 3, 5)
    (other,) = {"z1", "z2"} - {held}
    first = {name: values[:, :1].expand_as(values) for name, values in found.latents.items()}
    assert found.latents[held].equal(first[held])
    assert bool((found.latents[other] != first[other])[:, 1:].all())
    assert found.x.shape[:2] == (3, 5)
    if held == "z1" and kind != "with a net":  # x is given z1 alone
        torch.testing.assert_close(found.x, found.x[:, :1].expand_as(found.x))
    else:
        assert float(found.x.var(1).min()) > 0
    again = sample_held(vae, [held], 3, 5)
    assert again.x.equal(found.x)


def test_what_can_be_held():
    vae = KINDS["bottom-up"]().vae
    for wrong in (["z3"], []):
        with pytest.raises(ValueError, match=r"Expected latent sites to hold \(z2, z1\); got"):
            sample_held(vae, wrong)
    with pytest.raises(ValueError, match="so that there is none to draw"):
        pv.plot.plot_held(vae, ["z1", "z2"])


def test_every_condition_meets_the_same_noise():
    made = KINDS["conditional"]()
    c = made.known["c"][:2]
    x = sample_under(made.vae, {"c": torch.cat([c, c])}, 4)
    assert x.shape[:2] == (4, 4) and x[:2].equal(x[2:]) and not x[0].equal(x[1])
    with pytest.raises(ValueError, match="Expected c=, under which data are drawn"):
        sample_held(made.vae, ["z"])


def test_the_same_z_under_another_condition():
    made = KINDS["conditional"]()
    x, c = made.x[:4], made.known["c"][:4]
    own = pv.reconstruct(made.vae, x, c=c)
    torch.testing.assert_close(pv.reconstruct(made.vae, x, c=c, given={"c": c}), own)
    other = pv.reconstruct(made.vae, x, c=c, given={"c": c[:1]})
    torch.testing.assert_close(other[0], own[0])
    assert float((other - own)[1:].abs().min(0).values.max()) > 0
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"Expected conditions or latent sites \(c, z\); got d"):
        pv.reconstruct(made.vae, x, c=c, given={"d": c})


def test_a_latent_label_changes_and_the_rest_stays():
    """Each reconstruction is that of the same z under the label that was drawn for it."""
    made = KINDS["semi-supervised"]()
    x, classes = made.x[:8], torch.eye(3)
    own = pv.reconstruct(made.vae, x)
    under = torch.stack([pv.reconstruct(made.vae, x, given={"y": y[None]}) for y in classes])
    apart = (under - own).abs().amax(-1)
    assert bool((apart.min(0).values == 0).all()) and bool((apart.max(0).values > 0).all())
