"""Data whose units are far from those of the model are reported."""

import warnings

import pytest
import torch
from checks import build

import pyro_vae as pv
from pyro_vae.checks import unit_warning
from pyro_vae.data import as_split


def plain_vae(dim=4, sigma="shared", **options):
    torch.manual_seed(0)
    return pv.VAE(
        pv.priors.StandardNormal(2),
        pv.likelihoods.Gaussian(pv.nn.MLP(2, [8], dim), sigma, **options),
        pv.posteriors.MeanFieldNormal(pv.nn.MLP(dim, [8], 4)),
    )


def units():
    x = torch.randn(200, 4)
    yield "standardized", x, None
    yield "thousands", 1000 * x, "scale of all data"
    yield "thousandths", x / 1000, "scale of all data"
    yield "years", x + 2000, "scale of all data"
    yield "one large column", x * torch.tensor([1, 1, 1e4, 1.0]), "scale of all data"
    yield "one small column", x * torch.tensor([1, 1, 1, 1e-4]), "scale of column 3"
    yield "a constant column", x * torch.tensor([1, 0, 1, 1.0]), None
    rare = torch.zeros(200, 4)
    rare[5, 1] = 0.5
    rare[:, [0, 2, 3]] = x[:, [0, 2, 3]]
    yield "a column that is hardly used", rare, None
    yield "grey levels", torch.rand(200, 4) * 255, None
    holes = 1000 * x
    holes[:50] = torch.nan
    yield "holes", holes, "scale of all data"


@pytest.mark.parametrize(
    "name,x,words", list(units()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_units_far_from_the_models_are_told(name, x, words):
    told = unit_warning(plain_vae(), as_split(x))
    assert told is None if words is None else words in told


def test_the_warning_reaches_the_user_once():
    x = 1000 * torch.randn(50, 4)
    with pytest.warns(UserWarning, match="scale of all data .* Standardize") as seen:
        pv.fit(plain_vae(), x, epochs=1, progress=False)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pv.fit(plain_vae(scale=1000.0), x, epochs=1, progress=False)  # it starts there
        vae, bits = build(
            ({"kind": "standard-normal"}, {"kind": "bernoulli"}, {"kind": "mean-field-normal"})
        )
        pv.fit(vae, bits, epochs=1, progress=False)
        vae, counts = build(
            ({"kind": "standard-normal"}, {"kind": "poisson"}, {"kind": "mean-field-normal"})
        )
        pv.fit(vae, counts * 1000, epochs=1, progress=False)
