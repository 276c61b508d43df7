"""What networks see of data with holes."""

import torch

import pyro_vae as pv
from pyro_vae.build import build_vae
from pyro_vae.config import validate


def recipe(**likelihood):
    likelihood = {"kind": "gaussian", "missing": "at-random", **likelihood}
    return validate({"data": {"kind": "file", "path": "x.csv"}, "likelihood": likelihood})


def test_indicators_are_about_zero():
    """Of the training data their mean is zero in every column; what is whole shows nothing."""
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    x[:150, 0] = torch.nan
    x[::2, 1] = torch.nan
    vae = build_vae(recipe(), (3,), 1.0, pv.data.as_split(x))
    [observed] = [m for m in vae.modules() if isinstance(m, pv.nn.Observed)]
    torch.testing.assert_close(observed.share, torch.tensor([0.25, 0.5, 1.0]))
    values, indicators = observed(x).split(3, dim=1)
    torch.testing.assert_close(indicators.mean(0), torch.zeros(3))
    assert indicators[:, 2].eq(0).all()
    assert values[x.isnan()].eq(0).all() and values[~x.isnan()].eq(x[~x.isnan()]).all()


def test_a_checkpoint_holds_the_shares():
    x = torch.randn(50, 3)
    x[:10] = torch.nan
    x[10:30, 1] = torch.nan
    vae = build_vae(recipe(), (3,), 1.0, pv.data.as_split(x))
    other = build_vae(recipe(), (3,), 1.0, None)
    other.load_state_dict(vae.state_dict())
    torch.testing.assert_close(other.posterior(x).mean, vae.posterior(x).mean)


def test_holes_that_are_made_at_every_visit_count():
    split = pv.data.digits(holes={"rate": 0.3, "when": "visit"}).train
    torch.testing.assert_close(
        pv.data.share_there(split), torch.full(split.x_shape, 0.7, dtype=torch.float64)
    )


def test_padding_is_no_hole_of_a_sequence():
    """Indicators of a chain's encoder are about zero over steps up to the last datum."""
    x = torch.randn(60, 7, 3, generator=torch.Generator().manual_seed(0))
    x[:30, 4:] = torch.nan  # padding
    hidden = torch.zeros(x.shape, dtype=torch.bool)
    hidden[:, :2, 1] = True
    split = pv.data.as_split(x).hiding(hidden)
    x = split.rows(slice(None))
    chain = {"prior": {"kind": "markov"}, "posterior": {"kind": "corrected-markov"}}
    declared = validate({**recipe().model_dump(), **chain, "latent_dim": 2})
    vae = build_vae(declared, (7, 3), 1.0, split)
    [observed] = [m for m in vae.modules() if isinstance(m, pv.nn.Observed)]
    torch.testing.assert_close(observed.share, torch.tensor([1.0, 7 / 11, 1.0]))
    inside = pv.nn.followed(x)[..., 0]
    indicators = observed(x)[inside][:, 3:]
    torch.testing.assert_close(indicators.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    other = build_vae(declared, (7, 3), 1.0, None)
    other.load_state_dict(vae.state_dict())
    torch.testing.assert_close(other.posterior(x).mean, vae.posterior(x).mean)
