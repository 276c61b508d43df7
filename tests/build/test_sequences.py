"""Recipes of sequences: what is built, and what is refused in a sentence."""

import math

import pytest
import torch

import pyro_vae as pv
from pyro_vae.config import override, read_recipe, validate
from pyro_vae.data import as_split

NAN = float("nan")
PARTS = {
    "data": {"kind": "jsb-chorales"},
    "latent_dim": 3,
    "prior": {"kind": "markov", "hidden_features": 4},
    "likelihood": {"kind": "gaussian", "decoder": {"kind": "mlp", "hidden_features": [5]}},
    "posterior": {"kind": "corrected-markov", "hidden_features": 6},
}


def made(x, **changes):
    split = as_split(x)
    recipe = validate(override(PARTS, changes))
    return pv.build_vae(recipe, split.x_shape, split.scale, split), split


def sequences():
    x = 5 + torch.randn(30, 7, 4) * torch.tensor([1.0, 10.0, 0.1, 3.0])
    x[::2, 5:] = NAN
    return x


def test_a_chain_starts_at_the_moments_of_all_steps():
    vae, split = made(sequences())
    rows = split.stored[~split.stored.isnan().any(-1)]
    assert isinstance(vae.posterior.prior, pv.priors.Markov) and vae.prior.num_steps == 7
    assert vae.posterior.prior is vae.prior and vae.likelihood.missing
    torch.testing.assert_close(vae.likelihood.decoder.output_bias, rows.mean(0))
    sigma = float(vae.likelihood.family.log_scale.detach().exp())
    assert sigma == pytest.approx(float(rows.var(0, correction=0).mean().sqrt()), rel=1e-4)
    assert bool(pv.elbo(vae, split).isfinite().all())
    assert pv.sample(made(sequences(), **{"prior.num_steps": 9})[0], 2).shape == (2, 9, 4)


def test_standardized_sequences_have_densities_of_x():
    vae, split = made(sequences(), **{"data.standardize": True})
    gaussian = vae.likelihood.family
    rows = split.stored[~split.stored.isnan().any(-1)]
    torch.testing.assert_close(gaussian.shift, rows.mean(0))
    torch.testing.assert_close(gaussian.unit, rows.std(0, correction=0))
    z = pv.encode(vae, split).loc
    law, x = vae.likelihood(z), split.stored
    own = torch.distributions.Normal(law.base.mean, gaussian.unit * gaussian.log_scale.exp())
    each = torch.where(x.isnan(), 0.0, own.log_prob(x.nan_to_num()))
    torch.testing.assert_close(law.log_prob(x), each.sum((1, 2)))
    small, other = made(split.stored / 1000, **{"data.standardize": True})
    torch.testing.assert_close(pv.encode(small, other).loc, z, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"likelihood.sigma": "per-element"}, "one number for each element"),
        ({"likelihood.kind": "beta"}, "one number for each element"),
    ],
)
def test_likelihoods_of_more_numbers_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        made(sequences(), **changes)


def test_images_are_no_sequences():
    with pytest.raises(ValueError, match=r"Expected sequences, x of shape \(T, D\)"):
        made(torch.zeros(5, 1, 4, 4))


@pytest.mark.parametrize(
    "changes,sentence",
    [
        ({"posterior.kind": "mean-field-normal"}, 'posterior.kind = "corrected-markov"'),
        ({"prior.kind": "vamp"}, "got vamp and corrected-markov"),
        ({"likelihood.given": ["z"]}, "one factor with its default dependencies"),
        ({"prior.hiden_features": 3}, r"no such setting \(did you mean 'hidden_features'"),
        ({"posterior.kind": "corrected-marcov"}, "did you mean 'corrected-markov'"),
    ],
)
def test_chains_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        validate(override(PARTS, changes))


@pytest.mark.parametrize("name", ["jsb-dmm", "fsdd-dmm"])
def test_the_recipes_are_of_sequences(name):
    recipe = validate(read_recipe(name))
    assert recipe.prior.kind == "markov" and recipe.posterior.kind == "corrected-markov"
    assert recipe.train.kl_warmup_epochs > 0 and math.isfinite(recipe.train.clip_norm)
