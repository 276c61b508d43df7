"""Columns of several kinds, with holes."""

import pytest
import torch
from checks import built, data_for, recipe_for, variants

import pyro_vae as pv
from pyro_vae.data import as_split

pytestmark = pytest.mark.usefixtures("float64")


def product_vae(x):
    kind = next(k for k in variants("likelihood") if k["kind"] == "product")
    recipe = recipe_for({"kind": "standard-normal"}, kind, {"kind": "mean-field-normal"})
    return pv.build_vae(recipe, tuple(x.shape[1:]), 1.0, as_split(x))


def test_product_adds_its_columns_and_leaves_holes_out():
    x = data_for("product", 12)
    vae = product_vae(x)
    z = torch.randn(12, vae.prior().event_shape[0])
    by_hand = torch.zeros(12)
    for part, columns in zip(vae.likelihood.parts, ([0, 3], [1], [5, 2, 4])):
        law = part(z).base_dist
        there = ~x[:, columns].isnan()
        filled = torch.where(there, x[:, columns], 0.0)
        by_hand += torch.where(there, law.log_prob(filled), 0.0).sum(-1)
    torch.testing.assert_close(vae.likelihood(z).log_prob(x), by_hand)
    assert x.isnan().any()
    x[0] = torch.nan
    assert float(vae.likelihood(z).log_prob(x)[0].detach()) == 0.0  # all integrated out
    drawn = vae.likelihood(z).sample()
    assert vae.likelihood.support.check(drawn).all()


def test_products_refuse_columns_that_do_not_fit():
    normal = pv.likelihoods.Gaussian(torch.nn.Identity())
    with pytest.raises(ValueError, match=r"every column in one part; got the columns \[0, 0\]"):
        pv.likelihoods.Product(torch.nn.Identity(), [([0], normal), ([0], normal)])


def test_holes_have_no_gradient_and_no_influence():
    x = data_for("product", 12)
    vae = product_vae(x)
    torch.manual_seed(1)
    loss = pv.objectives.ELBO()(vae.model, vae.guide, x).loss
    loss.backward()
    assert all(p.grad.isfinite().all() for p in vae.parameters())
    with pytest.raises(ValueError, match="got nan"):
        pv.fit(
            built({"kind": "standard-normal"}, {"kind": "mean-field-normal"})[0], x, progress=False
        )
