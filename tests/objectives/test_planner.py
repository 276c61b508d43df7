"""Unsound choices are refused in a sentence."""

import pytest
from checks import build

import pyro_vae as pv

pytestmark = pytest.mark.usefixtures("float64")

REFUSALS = [
    ("standard-normal", "bernoulli", {}, "support inside the prior's"),
    ("bernoulli", "mean-field-normal", {}, "support inside the prior's"),
    ("bernoulli", "relaxed-bernoulli", {}, "support inside the prior's"),
    ("standard-normal", "relaxed-bernoulli", {}, "a density for a probability"),
    ("hypersphere-uniform", "mean-field-normal", {}, "support inside the prior's"),
    ("bernoulli", "bernoulli", {"estimator": "reparameterized"}, "no gradient flows"),
    ("bernoulli", "bernoulli", {"estimator": "stl"}, "no gradient flows"),
    ("standard-normal", "delta", {"estimator": "iwae"}, "AIS from the prior"),
    ("standard-normal", "delta", {"estimator": "score-function"}, "AIS from the prior"),
    ("standard-normal", "mean-field-normal", {"estimator": "enumeration"}, "can be listed"),
    ("standard-normal", "mean-field-normal", {"estimator": "iwae", "kl_weight": 0.5}, "KL weight"),
    (
        "standard-normal",
        "mean-field-normal",
        {"estimator": "vimco", "num_particles": 1},
        "at least 2 particles",
    ),
    ("standard-normal", "mean-field-normal", {"estimator": "stl", "free_bits": 1.0}, "free bits"),
    ("standard-normal", "mean-field-normal", {"estimator": "elbo"}, "Expected an estimator"),
]


@pytest.mark.parametrize("prior,posterior,options,words", REFUSALS)
def test_unsound_choices_are_refused(prior, posterior, options, words):
    vae, x = build(({"kind": prior}, {"kind": "gaussian"}, {"kind": posterior}))
    with pytest.raises(ValueError, match=words):
        pv.plan(vae, x, **options)
